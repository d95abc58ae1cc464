"""Embeddings."""

from typing import NotRequired, TypedDict

from perennial.types.datasets import ReceiptError


class InputVector(TypedDict):
    """The L2-normalised vector of an image or text, or why an image has none."""

    file: str | None
    embedding: list[float] | str | None
    error: NotRequired[ReceiptError | None]


class Embed(TypedDict):
    """The vectors in the order the inputs were sent, and the version that computed them."""

    model: str
    version: int
    digest: str
    width: int
    data: list[InputVector]
