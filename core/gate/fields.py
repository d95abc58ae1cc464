"""The fields of a gate policy that are numbers: their bounds, and how pages name and show them."""

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any

# Units of fractions, which are shown in percent, and of counts.
POINTS, PERCENT = "points", "%"
IMAGES, VERDICTS, VIEWS = "test images", "verdicts", "views"


@dataclass(frozen=True, kw_only=True)
class Limit:
    """The meaning and the bounds of a number of a policy."""

    label: str
    meaning: str  # goes on with the number and its unit, as in "3 points may be lost"
    unit: str = POINTS
    low: float = 0
    high: float = 1
    above_low: bool = False  # whether the low bound itself is not allowed
    optional: str = ""  # what None means; "" if it is not allowed
    loosens: int = 1  # 1: a higher value allows more; -1: a lower one; 0: neither does
    description: str = ""  # for callers of the API

    @property
    def counts(self) -> bool:
        """True for a whole number, False for a fraction."""
        return self.unit not in {POINTS, PERCENT}

    def allows_no_more(self, value: float | None, than: float | None) -> bool:
        """Return whether a value allows no more than another one; None allows everything."""
        if value == than or self.loosens == 0:
            return value == than
        if value is None or than is None:
            return than is None
        return self.loosens * value < self.loosens * than

    def number(self, value: float) -> str:
        """Return a value in the field's unit: 0.03 as "3"."""
        return str(value) if self.counts else f"{100 * value:.10g}"

    def shown(self, value: float | None) -> str:
        """Return a value with its unit, such as "3 points"."""
        if value is None:
            return self.optional
        return f"{value:,} {self.unit}" if self.counts else f"{self.number(value)} {self.unit}"


def limited(default: float | None, label: str, meaning: str, **more: Any) -> Any:
    """Declare a number of a policy; `more` are further attributes of its `Limit`."""
    limit = Limit(label=label, meaning=meaning, **more)
    return field(default=default, metadata={"limit": limit})


def limits_of(policy: type) -> Mapping[str, Limit]:
    """Return the limits of a policy's numbers by field, in order."""
    return {one.name: one.metadata["limit"] for one in _limited(policy)}


def defaults_of(policy: type) -> Mapping[str, Any]:
    """Return the defaults of a policy's numbers by field."""
    return {one.name: one.default for one in _limited(policy)}


def _limited(policy: type) -> list[Field[Any]]:
    return [one for one in fields(policy) if "limit" in one.metadata]
