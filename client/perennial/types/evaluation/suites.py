"""Suites and gate policies, by which versions are judged."""

from typing import Literal, NotRequired, TypedDict

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


class Policy(TypedDict):
    """A gate policy, which never changes. Tolerances are fractions of 1."""

    id: str
    name: str
    parent_tolerance: NotRequired[float]
    root_tolerance: NotRequired[float]
    holdout_tolerance: NotRequired[float]
    wanted_gain: NotRequired[float]
    minimum_count: NotRequired[int]
    alpha: NotRequired[float]
    line_error: NotRequired[float | None]
    line_updates: NotRequired[int]
    negative_flips: NotRequired[float | None]
    reason: NotRequired[str]
    created_at: str
