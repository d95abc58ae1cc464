"""The parts of a report that its page and its SVG document show."""

from collections.abc import Sequence

from core.domain.evaluation.report import Report
from core.domain.evaluation.report_sections import Change, ChangeTable
from core.domain.gate.measure import MeasureKind, Ruling

SHOWN_WHOLE = 24  # classes: a longer list is truncated
SHOWN_WORST = 16  # classes of a truncated list


def guarded(report: Report) -> list[Ruling]:
    """Return the rulings on what may have been forgotten."""
    return [r for r in report.rulings if r.measure.kind is not MeasureKind.GAIN]


def gains(report: Report) -> list[Ruling]:
    """Return the rulings on what was to be learned."""
    return [r for r in report.rulings if r.measure.kind is MeasureKind.GAIN]


def change_title(table: ChangeTable) -> str:
    """Return the title of a change table."""
    if table.kind is MeasureKind.GAIN:
        return "Own holdout"
    if table.kind is MeasureKind.HOLDOUT:
        return f"Holdout of {table.name}"
    return f"Suite {table.name}"


def shown_classes(table: ChangeTable) -> Sequence[Change]:
    """Return all classes of a change table, or the worst of a long one."""
    classes = table.classes
    return classes if len(classes) <= SHOWN_WHOLE else classes[:SHOWN_WORST]
