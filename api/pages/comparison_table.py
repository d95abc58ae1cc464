"""Reports and comparisons as one table of measures and classes."""

from collections.abc import Iterable, Iterator, Mapping

from api.pages.csv_text import csv_text
from core.domain.comparison.comparison import Comparison
from core.domain.evaluation.report import Report
from core.domain.evaluation.report_sections import ChangeTable
from core.domain.gate.measure import Measure
from core.domain.values import Json

Row = Mapping[str, object]
COLUMNS = (
    "row",
    "kind",
    "name",
    "baseline",
    "baseline_version",
    "class",
    "formerly_right",
    "images",
    "count",
    "right_before",
    "right",
    "gained",
    "lost",
    "accuracy_lower",
    "accuracy_upper",
    "difference",
    "lower",
    "upper",
)
JUDGED = ("tolerance", "outcome")


def report_csv(report_json: Json) -> str:
    """Return a stored report's measures and changes by class. Raises ReportUnreadable."""
    report = Report.from_json(report_json)
    rulings = (
        {**_measure(ruling.measure), "outcome": ruling.outcome.value} for ruling in report.rulings
    )
    return csv_text((*COLUMNS, *JUDGED), (*rulings, *_classes(report.changes)))


def comparison_csv(comparison: Comparison) -> str:
    """Return a comparison's measures and changes by class."""
    rows = (*map(_measure, comparison.measures), *_classes(comparison.changes))
    return csv_text(COLUMNS, rows)


def _measure(measure: Measure) -> Row:
    return {**vars(measure), "row": "measure", "kind": measure.kind.value}


def _classes(tables: Iterable[ChangeTable]) -> Iterator[Row]:
    for table in tables:
        for change in table.classes:
            yield {
                **vars(change),
                "row": "class",
                "kind": table.kind.value,
                "name": table.name,
                "baseline": table.baseline,
                "baseline_version": table.baseline_version,
                "class": change.class_name,
                "count": change.images,
            }
