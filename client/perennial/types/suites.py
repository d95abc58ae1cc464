"""Suites."""

from typing import Literal, TypedDict

SuiteKind = Literal["zero_shot", "retrieval"]


class Suite(TypedDict):
    """A suite, which never changes."""

    id: str
    name: str
    kind: SuiteKind
    digest: str
    classes: list[str]
    images: int
    prompt: str
    created_at: str
