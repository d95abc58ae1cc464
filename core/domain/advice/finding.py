"""Findings: what an advice says about an order, one sentence or two each."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from core.domain.values import Json

_SHOWN = 8  # names in a message; the facts list all of them


class Severity(StrEnum):
    """The severity of a finding: a warning advises a change."""

    INFO = "info"
    WARNING = "warning"  # the update can start, but may not give what is expected of it


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something to consider before an update is ordered."""

    code: str  # stable
    severity: Severity
    message: str
    facts: Json = field(default_factory=dict)


def listed(names: Sequence[str]) -> str:
    """Return names as a list in a sentence, such as "a, b and 3 more"."""
    rest = len(names) - _SHOWN
    shown = ", ".join(names[:_SHOWN])
    return f"{shown} and {rest:,} more" if rest > 0 else shown


def percent(share: float) -> str:
    """Format a share: 0.2 is "20 %"."""
    return f"{100 * share:.0f} %"
