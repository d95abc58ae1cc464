"""Pages of what changed between two versions: measures, classes, confusions, and the images."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import chain, islice, zip_longest
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Query
from markupsafe import Markup
from starlette.responses import Response

from api.dependencies import Services
from api.http.routing import PAGES, Routes
from api.http.schemas import Number
from api.pages import plots
from api.pages.browsing import PageRoute
from api.pages.forms import Text
from api.pages.plots import Drawing, cut, text
from api.pages.rendering import PageRequest, isolate
from api.registry.report_pages import change_title, changes_shown
from core.comparison.answers import Confusion, ConfusionTable, Flip, FlipKind
from core.comparison.compare import (
    VersionComparison,
    changed_in_cell,
    compare_versions,
    flips_since,
)
from core.errors import AnswersMissing, PerennialError
from core.evaluation.report import Report
from core.gate.measures import Ruling
from core.principal import Role
from core.registry.read import read_report
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import Version

router = Routes(
    prefix=f"{PAGES}/models/{{model}}/changes", route_class=PageRoute, include_in_schema=False
)

FIRST, IMAGES = 7, 48  # of each kind on the first page; of a page of images
VERSIONS = 200  # to choose from
DRAWN = 6  # suites and holdouts whose classes and confusions are shown

One = Annotated[Number, Query()]
Chosen = Annotated[Number | None, Query()]
Skip = Annotated[int, Query(ge=0, le=10_000_000)]


@router.get("", Role.VIEWER)
def show_changes(model: str, asked: PageRequest, now: One, before: Chosen = None) -> Response:
    """Show what changed from one version to another, by default from its parent."""
    platform = asked.platform
    with platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        newer = work[Versions].get(found.id, now)
        start = max(0, now - VERSIONS)
        numbers = work[Versions].numbers(found.id, VERSIONS * 2, start)
    before = before or newer.parent or now
    context: dict[str, Any] = {
        "model": found,
        "before": before,
        "now": now,
        "numbers": numbers,
        "parent": newer.parent,
        "kinds": [kind.value for kind in FlipKind],
    }
    try:
        compared = compare_versions(platform, model, before, now)
    except AnswersMissing as missing:
        return asked.page("changes_missing.html", missing=missing, **context)
    flipped = compared.comparison.flips
    drawn = _drawn(compared, flipped)
    here = f"{PAGES}/models/{found.name}/changes/images?"
    return asked.page(
        "changes.html",
        compared=compared,
        rulings=_rulings(asked.services, newer, before),
        interval_plot=plots.interval_plot,
        measure_title=plots.measure_title,
        first={kind.value: _some(flipped, kind) for kind in FlipKind},
        counts={kind.value: sum(f.kind is kind for f in flipped) for kind in FlipKind},
        tables=[changes_shown(one) for one in compared.comparison.changes if one.name in drawn],
        all_drawn=len(drawn) == len(compared.answered),
        change_title=change_title,
        confusions=list(_confusions(compared, drawn, here)),
        **context,
    )


@router.get("/images", Role.VIEWER)
def show_images(
    model: str,
    asked: PageRequest,
    now: One,
    before: One,
    kind: Annotated[FlipKind | None, Query()] = None,
    suite: Text = "",
    class_name: Annotated[str, Query(alias="class", max_length=200)] = "",
    predicted: Text = "",
    skip: Skip = 0,
) -> Response:
    """Show images that two versions answer differently; with `predicted`, those of a cell."""
    platform = asked.platform
    found: Sequence[Any]
    if predicted:
        found = changed_in_cell(
            platform, model, before, now, name=suite, class_name=class_name, predicted=predicted
        )
    else:
        wanted = {"suite": suite or None, "class_name": class_name or None}
        _, _, found = flips_since(platform, model, now, str(before), kind=kind, **wanted)
    chosen = {"kind": kind and kind.value, "suite": suite, "class": class_name}
    chosen |= {"predicted": predicted}
    with platform.transactions(read_only=True) as work:
        named = work[Models].get(model)
    return asked.page(
        "changed_images.html",
        model=named,
        before=before,
        now=now,
        chosen=chosen,
        query={name: value for name, value in chosen.items() if value},
        images=found[skip : skip + IMAGES],
        count=len(found),
        skip=skip,
        more=skip + IMAGES if len(found) > skip + IMAGES else None,
    )


def _drawn(compared: VersionComparison, flipped: Sequence[Flip]) -> set[str]:
    """Return the suites and holdouts that are drawn: those that changed most, if there are many."""
    changed = Counter(flip.name for flip in flipped)
    names = [one.asked.name for one in compared.answered]
    return set(sorted(names, key=lambda name: -changed[name])[:DRAWN])


def _some(flipped: Sequence[Flip], kind: FlipKind) -> list[Flip]:
    """Return the first flips of a kind, taken in turn from each suite and holdout."""
    lists: dict[str, list[Flip]] = {}
    for flip in flipped:
        if flip.kind is kind:
            lists.setdefault(flip.name, []).append(flip)
    turns = chain.from_iterable(zip_longest(*reversed(lists.values())))
    return list(islice((flip for flip in turns if flip is not None), FIRST))


def _rulings(services: Services, version: Version, before: int) -> list[Ruling]:
    """Return the rulings of a version's report against this baseline; none without a report."""
    try:
        report = Report.from_json(read_report(services.platform.artifacts, version))
    except PerennialError:
        return []
    return [ruling for ruling in report.measures if ruling.baseline_version == before]


def _confusions(
    compared: VersionComparison, drawn: Collection[str], here: str
) -> Iterator[tuple[str, object]]:
    versions = {"before": compared.before.number, "now": compared.now.number}
    titles = {table.name: change_title(table) for table in compared.comparison.changes}
    for table in compared.comparison.confusions:
        if table.name not in drawn:
            continue

        def href(cell: Confusion, name: str = table.name) -> str:
            cell_of = {"suite": name, "class": cell.class_name, "predicted": cell.predicted}
            return here + urlencode(versions | cell_of)

        drawing = confusion_plot(table, href)
        if drawing is not None:
            yield titles.get(table.name, table.name), drawing


# A signed confusion matrix as inline SVG, whose cells lead to their images.

CLASSES = 12  # rows, and columns
LEFT, TOP, WIDE, HIGH = 170, 104, 52, 30
LONGEST = 22  # characters of a name


def confusion_plot(table: ConfusionTable, href: Callable[[Confusion], str]) -> Drawing | None:
    """Draw the cells that changed most: rows are true classes, columns what they were taken for.

    None if no confusion has changed. A cell has its sign in writing, for readers without colours.
    """
    cells = [cell for cell in table.cells if cell.predicted is not None]
    rows, columns = _most_changed(cells)
    shown = [cell for cell in cells if cell.class_name in rows and cell.predicted in columns]
    if not shown:
        return None
    most = max(abs(cell.change) for cell in shown)
    marks = [
        text(LEFT - 10, TOP + HIGH * (i + 0.5) + 4, "name end", isolate(cut(name, LONGEST)))
        for i, name in enumerate(rows)
    ]
    for i, name in enumerate(columns):
        x = LEFT + WIDE * (i + 0.5)
        marks.append(
            Markup('<text transform="translate({} {}) rotate(-40)" class="name">{}</text>').format(
                x, TOP - 8, isolate(cut(name, LONGEST))
            )
        )
    marks += [_cell(cell, rows, columns, most, href(cell)) for cell in shown]
    return Drawing(
        width=LEFT + WIDE * len(columns) + 90,
        height=TOP + HIGH * len(rows) + 6,
        role="group",
        label=f"Confusions of {table.name} that changed: rows are classes, columns what images "
        "were taken for",
        marks=marks,
    )


def _most_changed(cells: Sequence[Confusion]) -> tuple[list[str], list[str]]:
    """Return the rows and the columns of the cells that changed most, which come first."""
    rows: dict[str, None] = {}
    columns: dict[str, None] = {}
    for cell in cells:
        row, column = cell.class_name, cell.predicted or ""
        fits = len(rows | {row: None}) <= CLASSES and len(columns | {column: None}) <= CLASSES
        if fits:
            rows[row] = columns[column] = None
    return list(rows), list(columns)


def _cell(
    cell: Confusion, rows: Sequence[str], columns: Sequence[str], most: int, href: str
) -> Markup:
    x = LEFT + WIDE * columns.index(cell.predicted or "")
    y = TOP + HIGH * rows.index(cell.class_name)
    shade = round(0.1 + 0.9 * abs(cell.change) / most, 2)
    signed = f"{cell.change:+,}".replace("-", "−")
    words = (
        f"{isolate(cell.class_name)} taken for {isolate(cell.predicted or '')}: "
        f"{cell.before} before, {cell.now} now"
    )
    return Markup(
        '<a href="%s" aria-label="%s"><g class="confusion %s"><title>%s</title>'
        '<rect x="%s" y="%s" width="%s" height="%s" rx="3" fill-opacity="%s"/>'
        '<text x="%s" y="%s" class="number middle%s">%s</text></g></a>'
    ) % (
        href,
        words,
        "more" if cell.change > 0 else "fewer",
        words,
        x + 1,
        y + 1,
        WIDE - 2,
        HIGH - 2,
        shade,
        x + WIDE / 2,
        y + HIGH / 2 + 4.5,
        " strong" if shade > 0.6 else "",
        signed,
    )
