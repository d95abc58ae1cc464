"""Gate policies."""

from typing import NotRequired, TypedDict


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
