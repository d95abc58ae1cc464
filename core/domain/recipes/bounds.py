"""Bounds of a recipe's numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """The least and the largest value of a number, both allowed."""

    whole: bool
    low: float
    high: float

    def contain(self, value: object) -> bool:
        """Return whether a value is a number within bounds; NaN, true and false are not."""
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        return self.low <= value <= self.high

    @property
    def words(self) -> str:
        """The bounds as an error message states them."""
        if self.whole:
            return f"a whole number, {self.low} to {self.high}"
        return f"a number, {self.low:g} to {self.high:g}"


def _whole(low: int, high: int) -> Bounds:
    return Bounds(whole=True, low=low, high=high)


def _real(low: float, high: float) -> Bounds:
    return Bounds(whole=False, low=low, high=high)


MOST_EXEMPLARS = 1_000_000
BOUNDS: Mapping[str, Bounds] = MappingProxyType(
    {
        "epochs": _whole(1, 1000),
        "batch_size": _whole(2, 4096),
        "learning_rate": _real(1e-9, 1.0),
        "epsilon": _real(1e-16, 1),
        "weight_decay": _real(0, 1),
        "clip_norm": _real(1e-6, 1e6),
        "replay_weight": _real(0, 1000),
        "lwf_weight": _real(0, 1000),
        "cross_weight": _real(0, 1000),
        "reference_weight": _real(0, 1000),
        "projection": _real(0, 1),
        "mixing": _real(0, 1),
        "warm_start": _real(0, 1),
        "feature_replay": _whole(0, MOST_EXEMPLARS),
        "exemplar_batch": _whole(0, 4096),
        "averaging_decay": _real(0, 0.999999),
        "averaging_every": _whole(1, 100_000),
        "micro_batch": _whole(0, 4096),
        "sentences": _whole(2, 10_000),
        "sentence_length": _whole(3, 77),
        "temperature": _real(0.01, 100),
        "seed": _whole(0, 2**63 - 1),
    }
)


def counts_exemplars(value: object) -> bool:
    """Return whether a value is a number of exemplars, or a share of all between 0 and 1."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    whole = isinstance(value, int) or value.is_integer()
    return 0 <= value <= MOST_EXEMPLARS if whole else 0 < value < 1
