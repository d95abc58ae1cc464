"""Plots as SVG."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from api.pages.rendering import isolate, points, ticks, whole
from core.comparison.answers import Confusion, ConfusionTable
from core.evaluation.report import Change
from core.gate.measures import MeasureKind, Ruling
from core.trials.rules import Evidence, TrialVerdict

# Marks of inline SVG, coloured by the page's style sheet; all text is escaped.
#
# They are formatted by `%`, which takes a quarter of the time of `Markup.format`.


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A drawing of marks, described by its label. It is its own markup where a page shows it."""

    width: float
    height: float
    label: str
    marks: Sequence[Markup]
    role: str = "img"  # "group" for a drawing with links

    def __html__(self) -> str:
        """Return the drawing for a page, which scales it to the space that there is."""
        return self._markup("")

    def at(self, x: float, y: float) -> Markup:
        """Return the drawing at a place in another one, in its own size."""
        return self._markup(Markup('x="{}" y="{}" height="{}" ').format(x, y, self.height))

    def _markup(self, place: str) -> Markup:
        start = Markup('<svg {}viewBox="0 0 {} {}" width="{}" role="{}" aria-label="{}">').format(
            place, self.width, self.height, self.width, self.role, self.label
        )
        return start + Markup().join(self.marks) + Markup("</svg>")


def text(x: float, y: float, kind: str, content: str) -> Markup:
    """Return a text; `kind` is its class in the style sheet."""
    return Markup('<text x="%s" y="%s" class="%s">%s</text>') % (x, y, kind, content)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """Return a line."""
    mark = Markup('<line x1="%s" y1="%s" x2="%s" y2="%s" class="%s"/>')
    return mark % (x1, y1, x2, y2, kind)


def box(x: float, y: float, width: float, height: float, kind: str, radius: float = 0) -> Markup:
    """Return a rectangle."""
    mark = Markup('<rect x="%s" y="%s" width="%s" height="%s" rx="%s" class="%s"/>')
    return mark % (x, y, round(width, 2), height, radius, kind)


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
        text(LEFT - 10, TOP + HIGH * (i + 0.5) + 4, "name end", isolate(_cut(name)))
        for i, name in enumerate(rows)
    ]
    for i, name in enumerate(columns):
        x = LEFT + WIDE * (i + 0.5)
        marks.append(
            Markup('<text transform="translate({} {}) rotate(-40)" class="name">{}</text>').format(
                x, TOP - 8, isolate(_cut(name))
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


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


# The difference between two versions' accuracies with its interval, as inline SVG.


WIDTH_OF_DIFFERENCE_PLOT, HEIGHT, MARGIN, MIDDLE = 760, 96, 24, 42

_KINDS = {
    TrialVerdict.BETTER: "holds",
    TrialVerdict.WORSE: "fails",
    TrialVerdict.UNDECIDED: "open",
}


def difference_plot(evidence: Evidence) -> Drawing:
    """Draw the candidate's accuracy less that of the current version, in percentage points."""
    lower, upper = evidence.interval.lower, evidence.interval.upper
    pad = max(0.01, 0.06 * (upper - lower))
    low, high = max(-1.0, min(0.0, lower) - pad), min(1.0, max(0.0, upper) + pad)

    def at(value: float) -> float:
        return round(
            MARGIN + (value - low) / (high - low) * (WIDTH_OF_DIFFERENCE_PLOT - 2 * MARGIN), 1
        )

    marks = [
        text(MARGIN, 12, "note", "◀ the current version is better"),
        text(WIDTH_OF_DIFFERENCE_PLOT - MARGIN, 12, "note end", "the candidate is better ▶"),
    ]
    for value in ticks(low, high):
        zero = abs(value) < 1e-9
        marks.append(line(at(value), 20, at(value), HEIGHT - 24, "zero" if zero else "grid"))
        marks.append(text(at(value), HEIGHT - 8, "tick middle", points(value).replace(".0", "")))
    tooltip = f"{points(lower)} to {points(upper)} points"
    marks += [
        Markup('<g class="{}"><title>{}</title>').format(_KINDS[evidence.verdict], tooltip),
        line(at(lower), MIDDLE, at(upper), MIDDLE, "whisker"),
        line(at(lower), MIDDLE - 7, at(lower), MIDDLE + 7, "whisker"),
        line(at(upper), MIDDLE - 7, at(upper), MIDDLE + 7, "whisker"),
    ]
    if evidence.estimate is not None:
        x = at(min(max(evidence.estimate, low), high))
        marks.append(Markup('<circle cx="{}" cy="{}" r="6"/>').format(x, MIDDLE))
    marks.append(Markup("</g>"))
    label = f"Difference in accuracy, candidate less current version: {tooltip}"
    return Drawing(width=WIDTH_OF_DIFFERENCE_PLOT, height=HEIGHT, label=label, marks=marks)


# The plots of a report, as inline SVG.


WIDTH = 880

_LABEL = 300  # room for names on the left

_NOTE = 130  # room for a number and a word on the right

_COUNTS = 190  # room for a number and counts on the right

_LONGEST = 40  # characters of a name


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """Maps fractions to horizontal positions between the names and the notes."""

    low: float
    high: float
    right: float
    left: float = _LABEL

    def at(self, value: float) -> float:
        inside = min(max(value, self.low), self.high)
        share = (inside - self.low) / (self.high - self.low)
        return round(self.left + share * (self.right - self.left), 2)


def _axis(values: Iterable[float], *, least: float, right: float) -> _Axis:
    found = [0.0, *values]
    low, high = min(found), max(found)
    pad = max(least, (high - low) * 0.06)
    return _Axis(low=max(-1.05, low - pad), high=min(1.05, high + pad), right=right)


def _truncate(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


def _grid(axis: _Axis, height: float) -> Iterable[Markup]:
    for value in ticks(axis.low, axis.high):
        x = axis.at(value)
        zero = abs(value) < 1e-9
        yield line(x, 4, x, height - 22, "zero" if zero else "grid")
        label = points(value).replace(".0", "")
        yield text(x, height - 6, "tick middle", label)


def measure_title(ruling: Ruling) -> str:
    """Return the name of a measure for plots and tables."""
    measure = ruling.measure
    flips = " · negative flips" if measure.formerly_right else ""
    return {
        MeasureKind.ZERO_SHOT: f"{measure.name} · top-1",
        MeasureKind.IMAGE_TO_TEXT: f"{measure.name} · image → text R@1",
        MeasureKind.TEXT_TO_IMAGE: f"{measure.name} · text → image R@1",
        MeasureKind.HOLDOUT: f"holdout of {measure.name} · top-1",
        MeasureKind.HOLDOUTS: f"holdouts of {measure.name} · top-1",
        MeasureKind.GAIN: "own holdout · gain",
    }[measure.kind] + flips


def interval_plot(rulings: Sequence[Ruling]) -> Drawing:
    """Draw the interval of each measure, with the area beyond its tolerance shaded."""
    row, measures = 40, [ruling.measure for ruling in rulings]
    bounds = [bound for m in measures for bound in (m.lower, m.upper, -m.tolerance)]
    axis = _axis(bounds, least=0.01, right=WIDTH - _NOTE)
    height = row * len(rulings) + 30
    marks = []
    for index, measure in enumerate(measures):
        limit = axis.at(-measure.tolerance)
        top = index * row + 4
        marks += [
            box(axis.left, top + 2, limit - axis.left, row - 4, "beyond"),
            line(limit, top + 2, limit, top + row - 2, "limit"),
        ]
    marks += _grid(axis, height)
    for index, ruling in enumerate(rulings):
        measure, middle = ruling.measure, index * row + row / 2 + 4
        lower, upper = axis.at(measure.lower), axis.at(measure.upper)
        tooltip = f"{points(measure.lower)} to {points(measure.upper)} points"
        marks += [
            text(_LABEL - 16, middle - 3, "name end", _truncate(measure_title(ruling))),
            text(_LABEL - 16, middle + 12, "note end", f"against {measure.baseline}"),
            Markup('<g class="{}"><title>{}</title>').format(ruling.outcome.value, tooltip),
            line(lower, middle, upper, middle, "whisker"),
            line(lower, middle - 6, lower, middle + 6, "whisker"),
            line(upper, middle - 6, upper, middle + 6, "whisker"),
            Markup('<circle cx="{}" cy="{}" r="5.5"/></g>').format(
                axis.at(measure.difference), middle
            ),
            text(WIDTH - _NOTE + 16, middle + 5, "number", points(measure.difference)),
            text(WIDTH - 2, middle + 5, "note end", ruling.outcome.value),
        ]
    label = "Intervals of all measures against their tolerance"
    return Drawing(width=WIDTH, height=height, label=label, marks=marks)


def change_plot(changes: Sequence[Change]) -> Drawing:
    """Draw the change of each class as a bar with its interval, in the given order."""
    row = 22
    height = row * len(changes) + 30
    bounds = [bound for change in changes for bound in (change.lower, change.upper)]
    axis = _axis(bounds, least=0.02, right=WIDTH - _COUNTS)
    marks = list(_grid(axis, height))
    for index, change in enumerate(changes):
        middle = index * row + row / 2 + 4
        zero, end = axis.at(0), axis.at(change.difference)
        lower, upper = axis.at(change.lower), axis.at(change.upper)
        interval = f"{points(change.lower)} to {points(change.upper)} points"
        gained_lost = f"{change.gained} gained, {change.lost} lost"
        tooltip = f"{isolate(change.class_name)}: {interval}, {gained_lost}"
        counts = f"{whole(change.right_before)} → {whole(change.right)} of {whole(change.images)}"
        marks += [
            text(_LABEL - 16, middle + 4, "name end", isolate(_truncate(change.class_name))),
            Markup("<g><title>%s</title>") % tooltip,
            box(
                min(zero, end),
                middle - 7,
                max(abs(end - zero), 1.5),
                14,
                "worse" if change.difference < 0 else "better" if change.difference else "same",
                2,
            ),
            line(lower, middle, upper, middle, "reach"),
            Markup("</g>"),
            text(WIDTH - _COUNTS + 66, middle + 4, "number end", points(change.difference)),
            text(WIDTH - 2, middle + 4, "note end", counts),
        ]
    label = "Change of each class, worst first"
    return Drawing(width=WIDTH, height=height, label=label, marks=marks)
