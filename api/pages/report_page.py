"""The forgetting report as one self-contained HTML page."""

from functools import cache
from typing import TypeVar

from jinja2 import Environment

from api.pages import numbers, plots
from api.pages.bidi import isolate
from api.pages.matrix_plot import matrix_plot
from api.pages.page import environment, policy_of
from api.pages.report_parts import change_title, gains, guarded, shown_classes
from core.domain.evaluation.report import Report
from core.domain.evaluation.report_sections import ChangeTable, Recall, Scores
from core.domain.values import Json

_Row = TypeVar("_Row", Scores, Recall)

SHOWN_NAMES = 60  # names of classes with a single image
TABLES = {"tried", "layers"}  # the notes that have their own tables


def render_report(report_json: Json) -> str:
    """Return a stored report (`Report.to_json`) as an HTML page that is safe to send by e-mail.

    The page has no scripts and makes no requests. Its content security policy allows only its own
    style sheet; `style_policy` returns the same policy for the HTTP header.
    """
    report = Report.from_json(report_json)
    return (
        _environment()
        .get_template("report.html")
        .render(
            report=report,
            policy=style_policy(),
            guarded=guarded(report),
            gains=gains(report),
            headline=headline(report),
            scores=_without_duplicate_root(report, report.scores),
            recalls=_without_duplicate_root(report, report.recalls),
            interval_plot=plots.interval_plot,
            matrix=matrix_plot(report.tasks, report.matrix, report.root),
            changes=[changes_shown(table) for table in report.changes],
            measure_title=plots.measure_title,
            change_title=change_title,
            names=SHOWN_NAMES,
            chosen={name: note for name, note in report.notes.items() if name not in TABLES},
            layers=report.notes.get("layers", ()),
            tried=_tried(report.notes),
        )
    )


def _tried(notes: Json) -> list[Json]:
    """Return the mixing weights tried: of the model or of a layer, and whether each was chosen."""
    layers = {row["layer"]: row["mixing"] for row in notes.get("layers", ())}
    chosen = {None: notes.get("mixing"), **layers}
    return [
        {"layer": None, **row, "chosen": row["mixing"] == chosen.get(row.get("layer"))}
        for row in notes.get("tried", ())
    ]


def style_policy() -> str:
    """Return the content security policy of the page, which allows only its own style sheet."""
    return policy_of(_style())


@cache
def _environment() -> Environment:
    return environment(
        percent=numbers.percent,
        small_percent=numbers.small_percent,
        points=numbers.points,
        whole=numbers.whole,
        short=numbers.short,
        isolate=isolate,
    )


@cache
def _style() -> str:
    return _environment().get_template("report.css").render()


def headline(report: Report) -> list[dict[str, object]]:
    """Return the cards at the top: name, note, value and change since the parent."""
    now, before, *_ = report.scores
    return [
        _card("UT-Acc", "classes taught", now.ut_micro, before.ut_micro),
        _card("ZS-Acc", "zero-shot suites", now.zero_shot, before.zero_shot),
        _card("A-Acc", "mean of both", now.average, before.average),
        _card("Retention", "against the root", report.retention, None),
    ]


def _card(name: str, note: str, value: float | None, before: float | None) -> dict[str, object]:
    change = None if value is None or before is None else value - before
    return {"name": name, "note": note, "value": value, "change": change}


def _without_duplicate_root(report: Report, rows: tuple[_Row, ...]) -> list[_Row]:
    """Return the rows without those of the root if the root is also the parent."""
    return [row for row in rows if row.role != "root" or report.root != report.parent]


def changes_shown(table: ChangeTable) -> dict[str, object]:
    """Return what the page shows of a change table: all classes, or the worst of a long list.

    If every class has a single image there is no plot: the page lists the names instead.
    """
    classes = table.classes
    worse = [change.class_name for change in classes if change.difference < 0]
    better = [change.class_name for change in classes if change.difference > 0]
    shown = shown_classes(table)
    singles = all(change.images == 1 for change in classes)
    return {
        "table": table,
        "worse": worse,
        "better": better,
        "plot": None if singles else plots.change_plot(shown),
        "shown": len(shown),
    }
