"""Query parameters that choose jobs."""

from typing import Annotated

from fastapi import Query

from api.schemas.common import Time

CreatedSince = Annotated[
    Time | None,
    Query(description="Jobs created at this time or later.", examples=["2026-11-26T09:30:00Z"]),
]
CreatedUntil = Annotated[Time | None, Query(description="Jobs created before this time.")]
MetadataFilter = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=600,
        examples=["team:shoes"],
        description="`KEY:VALUE`, or `KEY` for any value. The key ends at the first colon.",
    ),
]


def key_and_value(metadata: str) -> tuple[str, str | None]:
    """Return the key of a metadata filter, and its value if it has one."""
    key, colon, value = metadata.partition(":")
    return key, value if colon else None
