"""Resumable uploads."""

from typing import TypedDict


class UploadProgress(TypedDict):
    """A resumable upload."""

    id: str
    length: int  # bytes
    offset: int  # bytes that have arrived
    created_at: str
    expires_at: str
