"""The forgetting report as a page, as a picture and as a table."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import TypeVar

from markupsafe import Markup

from api.http.answers import csv_text
from api.pages.plots import (
    WIDTH,
    Drawing,
    change_plot,
    counts_of,
    interval_plot,
    measure_parts,
    measure_title,
    text,
)
from api.pages.rendering import percent, policy_of, render
from api.registry.report_record import Record
from core.comparison.answers import Comparison
from core.evaluation.report import (
    FEWEST,
    Change,
    ChangeTable,
    MatrixRow,
    Recall,
    Report,
    Scores,
    Task,
)
from core.gate.kinds import ClassList, MeasureKind, Outcome
from core.gate.measures import Measure, Ruling
from core.gate.rules import LIMITS
from core.values import Json

SHOWN_NAMES = 60  # names of classes with few images
SHOWN_TAKEN = 30  # answers that took the place of lost ones
SHOWN_ELSEWHERE = {"tried", "layers", "shrunk"}  # notes with their own tables or sentence

_Row = TypeVar("_Row", Scores, Recall)


def render_report(
    report_json: Json, *, erased: bool = False, back: str = "", record: Record | None = None
) -> str:
    """Return a stored report (`Report.to_json`) as an HTML page that is safe to send by e-mail.

    `erased` says that the version learned from images that were erased since, and `back` is the
    address of the version's page, for a report that is read beside it. With `record`, what is
    printed is one page for those who keep it.

    The page has no scripts and makes no requests. Its content security policy allows only its own
    style sheet; `style_policy` returns the same policy for the HTTP header.
    """
    report = Report.from_json(report_json)
    return render(
        "report.html",
        report=report,
        erased=erased,
        back=back,
        record=record,
        policy=style_policy(),
        limits=LIMITS,
        guarded=guarded(report),
        gains=gains(report),
        by_lists=by_lists(report),
        taken=sorted(report.taken, key=lambda row: -row.images)[:SHOWN_TAKEN],
        same_names=list(
            dict.fromkeys((row.class_name, row.answered) for row in report.taken if row.may_be_same)
        ),
        headline=headline(report),
        scores=_without_duplicate_root(report, report.scores),
        recalls=_without_duplicate_root(report, report.recalls),
        interval_plot=interval_plot,
        matrix=matrix_plot(report.tasks, report.matrix, report.root),
        changes=[changes_shown(table) for table in report.changes],
        measure_title=measure_title,
        change_title=change_title,
        parts=measure_parts,
        names=SHOWN_NAMES,
        fewest=FEWEST,
        counts_of=counts_of,
        told=told,
        chosen={name: note for name, note in report.notes.items() if name not in SHOWN_ELSEWHERE},
        layers=report.notes.get("layers", ()),
        shrunk=report.notes.get("shrunk"),
        tried=_tried(report.notes),
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
    return policy_of(render("report.css"))


def headline(report: Report) -> list[dict[str, object]]:
    """Return the cards: name, abbreviation and meaning, value and change since the parent."""
    now, before, *_ = report.scores
    return [
        _card("Classes taught", "UT-Acc: accuracy on updates", now.ut_micro, before.ut_micro),
        _card("Zero-shot suites", "ZS-Acc: accuracy on suites", now.zero_shot, before.zero_shot),
        _card("Mean of both", "A-Acc: average accuracy", now.average, before.average),
        _card("Retention", "share of the root’s ZS-Acc", report.retention, None),
    ]


def _card(name: str, note: str, value: float | None, before: float | None) -> dict[str, object]:
    change = None if value is None or before is None else value - before
    return {"name": name, "note": note, "value": value, "change": change}


def _without_duplicate_root(report: Report, rows: tuple[_Row, ...]) -> list[_Row]:
    """Return the rows without those of the root if the root is also the parent."""
    return [row for row in rows if row.role != "root" or report.root != report.parent]


def changes_shown(table: ChangeTable) -> dict[str, object]:
    """Return what the page shows of a change table: all classes, or the worst of a long list.

    Classes with few images are not drawn: those that changed are listed with their counts.
    """
    classes = table.classes
    shown = shown_classes(table)
    few = [change for change in classes if change.images < FEWEST]
    return {
        "table": table,
        "worse": [change.class_name for change in classes if change.difference < 0],
        "better": [change.class_name for change in classes if change.difference > 0],
        "plot": change_plot(shown) if shown else None,
        "shown": len(shown),
        "drawable": len(classes) - len(few),
        "few": len(few),
        "few_lost": [change for change in few if change.difference < 0],
        "few_gained": [change for change in few if change.difference > 0],
    }


def told(value: object) -> str:
    """Return a field of a recipe, or what training chose, in words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(told, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name} {told(found)}" for name, found in value.items()) or "none"
    return "none" if value is None else str(value)


# The parts of a report that its page and its SVG document show.

SHOWN_WHOLE = 24  # classes: a longer list is truncated
SHOWN_WORST = 16  # classes of a truncated list


def guarded(report: Report) -> list[Ruling]:
    """Return the rulings on what may have been forgotten."""
    return [r for r in report.measures if r.kind is not MeasureKind.GAIN]


def labels_wanted(report: Report) -> set[str]:
    """Return the unlabelled suites of which more labels may decide something."""
    if report.to_label:
        return {*report.unlabelled}
    return {
        measure.name
        for measure in report.measures
        if (known := measure.disagreements) and known.labelled < known.total
        if measure.outcome is Outcome.OPEN
    }


def by_lists(report: Report) -> list[tuple[Ruling | None, ...]]:
    """Return what was forgotten beside what was swallowed, of each suite and holdout.

    Each row begins with the ruling over the own list. The others are None where they were not
    asked: with all learned classes to choose from, or of captions among the images of all suites
    and holdouts; with the classes of suites, too; over default lists; with learned classes alone.
    Searches count at depth 1.
    """
    asked = [m for m in report.measures if not (m.own_prompts or m.formerly_right or m.depth > 1)]
    longer: dict[tuple[MeasureKind, str, str], dict[ClassList, Ruling]] = {}
    for m in asked:
        if m.asked is not ClassList.OWN:
            same = (one for one in longer if one[:2] == (m.kind, m.name) and m.baseline in one[2])
            longer.setdefault(next(same, (m.kind, m.name, m.baseline)), {})[m.asked] = m
    lists = (ClassList.UNION, ClassList.WITH_SUITES, ClassList.DEFAULT, ClassList.LEARNED)
    return [
        (own, *map(found.get, lists))
        for (kind, name, baseline), found in longer.items()
        for own in asked
        if (own.asked, own.kind, own.name) == (ClassList.OWN, kind, name)
        and baseline in own.baseline
    ]


def gains(report: Report) -> list[Ruling]:
    """Return the rulings on what was to be learned."""
    return [r for r in report.measures if r.kind is MeasureKind.GAIN]


def change_title(table: ChangeTable) -> str:
    """Return the title of a change table."""
    if table.kind is MeasureKind.GAIN:
        return "Own holdout"
    if table.kind is MeasureKind.HOLDOUT:
        return f"Holdout of {table.name}"
    return f"Suite {table.name}"


def shown_classes(table: ChangeTable) -> Sequence[Change]:
    """Return the classes of a change table with enough images, or the worst of many."""
    classes = [change for change in table.classes if change.images >= FEWEST]
    return classes if len(classes) <= SHOWN_WHOLE else classes[:SHOWN_WORST]


# The accuracy matrix as a heat map of inline SVG.


def matrix_plot(tasks: Sequence[Task], rows: Sequence[MatrixRow], root: int) -> Drawing:
    """Draw the accuracy matrix, in percent, as a heat map: rows are versions, columns updates."""
    wide, high, left, top = 92, 40, 150, 30
    marks = [
        text(left + column * wide + wide / 2, 18, "tick middle", f"update {task.version}")
        for column, task in enumerate(tasks)
    ]
    for index, row in enumerate(rows):
        y = top + index * high
        name = f"version {row.version}" + (" (root)" if row.version == root else "")
        marks.append(text(left - 14, y + high / 2 + 5, "name end", name))
        for column, task in enumerate(tasks):
            cell = row.macro[column]
            x = left + column * wide
            tooltip = f"version {row.version} on the holdout of update {task.version}"
            kind = "cell own" if task.version == row.version else "cell"
            marks.append(_cell(x, y, (wide, high), cell, kind, tooltip))
    return Drawing(
        width=left + wide * len(tasks) + 10,
        height=top + high * len(rows) + 6,
        label="Accuracy of each version on the holdout of each update",
        marks=marks,
    )


def _cell(
    x: float, y: float, size: tuple[int, int], value: float | None, kind: str, tooltip: str
) -> Markup:
    shade = 0 if value is None else round(0.08 + 0.92 * value, 3)
    ink = "on-dark" if shade > 0.55 else "on-light"
    return Markup(
        '<g><title>{}</title><rect x="{}" y="{}" width="{}" height="{}" rx="4" class="{}" '
        'fill-opacity="{}"/><text x="{}" y="{}" class="number middle {}">{}</text></g>'
    ).format(
        tooltip,
        x + 2,
        y + 2,
        size[0] - 4,
        size[1] - 4,
        kind,
        shade,
        x + size[0] / 2,
        y + size[1] / 2 + 5,
        ink,
        percent(value),
    )


# The plots of a report as one SVG document.

MARGIN, TITLE, GAP = 24, 30, 20  # pixels

_DOCUMENT = Markup(
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
    'height="{height}" role="img" aria-label="{label}" font-family="system-ui, sans-serif">'
    '<style>{style}</style><rect width="100%" height="100%" class="page"/>{marks}</svg>'
)


def report_svg(report_json: Json) -> str:
    """Return the plots of a stored report, one below the other. Raises ReportUnreadable.

    The document has no scripts and makes no requests; its style sheet is its own.
    """
    report = Report.from_json(report_json)
    label = f"{report.model}, version {report.version}: {report.verdict.value}"
    marks = [text(MARGIN, MARGIN + 14, "title", label)]
    top, right = float(MARGIN + TITLE), float(WIDTH)
    for title, plot in _plots(report):
        marks += [text(MARGIN, top + 16, "title", title), plot.at(MARGIN, top + TITLE)]
        top, right = top + TITLE + plot.height + GAP, max(right, plot.width)
    width = right + 2 * MARGIN
    return _DOCUMENT.format(
        width=width,
        height=top,
        label=label,
        style=Markup(_svg_style()),  # noqa: S704 - a file of this package
        marks=Markup().join(marks),
    )


def svg_policy() -> str:
    """Return the content security policy of the document."""
    return policy_of(_svg_style())


@cache
def _svg_style() -> str:
    """Return the style sheet of the plots, in light colours.

    It has no variables, because many programs that show SVG know none.
    """
    light, _, _ = render("colours.css").partition("@media")
    colours = dict(re.findall(r"(--[a-z-]+): (#[0-9a-f]{6})", light))
    return re.sub(r"var\((--[a-z-]+)\)", lambda found: colours[found[1]], render("marks.css"))


def _plots(report: Report) -> Iterator[tuple[str, Drawing]]:
    if found := guarded(report):
        yield "Intervals against tolerance", interval_plot(found)
    if gained := gains(report):
        yield "What was gained", interval_plot(gained)
    for table in report.changes:
        if shown := shown_classes(table):
            count = len(table.classes)
            part = "" if len(shown) == count else f", the worst {len(shown)} of {count} classes"
            yield f"{change_title(table)}, against {table.baseline}{part}", change_plot(shown)
    if report.tasks:
        matrix = matrix_plot(report.tasks, report.matrix, report.root)
        yield "Accuracy of each version on each update's holdout, in percent", matrix


# Reports and comparisons as one table of measures and classes.

Row = Mapping[str, object]

COLUMNS = (
    "row",
    "kind",
    "name",
    "baseline",
    "baseline_version",
    "asked",
    "own_prompts",
    "depth",
    "classes",
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

JUDGED = ("interval_lower", "tolerance", "outcome")


def report_csv(report_json: Json) -> str:
    """Return a stored report's measures and changes by class. Raises ReportUnreadable."""
    report = Report.from_json(report_json)
    rows = (*map(_measure, report.measures), *_classes(report.changes))
    return csv_text((*COLUMNS, *JUDGED), rows)


def comparison_csv(comparison: Comparison) -> str:
    """Return a comparison's measures and changes by class."""
    rows = (*map(_measure, comparison.measures), *_classes(comparison.changes))
    return csv_text(COLUMNS, rows)


def _measure(measure: Measure) -> Row:
    return {
        **vars(measure),
        "row": "measure",
        "kind": measure.kind.value,
        "asked": measure.asked.value,
    }


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
