"""Drawings as inline SVG, coloured by the page's style sheet: their marks, plots of measures."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from api.pages.rendering import isolate, points, ticks, whole
from core.evaluation.report import Change
from core.gate.measures import Measure, MeasureKind, Ruling


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


# Marks, which escape all text. `%` takes a quarter of the time of `Markup.format`.


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


def cut(name: str, longest: int) -> str:
    """Return a name of at most so many characters, cut if it is longer."""
    return name if len(name) <= longest else name[: longest - 1] + "…"


# Plots of measures and of changes by class.

WIDTH = 880
_LABEL = 300  # room for names on the left
_NOTE = 130  # room for a number and a word on the right
_COUNTS = 190  # room for a number and counts on the right
_LONGEST = 40  # characters of a name


def measure_title(measure: Measure) -> str:
    """Return the name of a measure for plots and tables."""
    flips = " · negative flips" if measure.formerly_right else ""
    return {
        MeasureKind.ZERO_SHOT: f"{measure.name} · top-1",
        MeasureKind.IMAGE_TO_TEXT: f"{measure.name} · image → text R@1",
        MeasureKind.TEXT_TO_IMAGE: f"{measure.name} · text → image R@1",
        MeasureKind.HOLDOUT: f"holdout of {measure.name} · top-1",
        MeasureKind.HOLDOUTS: f"holdouts of {measure.name} · top-1",
        MeasureKind.GAIN: "own holdout · gain",
    }[measure.kind] + flips


def interval_plot(measures: Sequence[Ruling]) -> Drawing:
    """Draw the interval of each measure, with the area beyond its tolerance shaded."""
    row = 40
    bounds = [bound for m in measures for bound in (m.lower, m.upper, -m.tolerance)]
    axis = _axis(bounds, least=0.01, right=WIDTH - _NOTE)
    height = row * len(measures) + 30
    marks = []
    for index, measure in enumerate(measures):
        limit = axis.at(-measure.tolerance)
        top = index * row + 4
        marks += [
            box(axis.left, top + 2, limit - axis.left, row - 4, "beyond"),
            line(limit, top + 2, limit, top + row - 2, "limit"),
        ]
    marks += _grid(axis, height)
    for index, measure in enumerate(measures):
        middle = index * row + row / 2 + 4
        lower, upper = axis.at(measure.lower), axis.at(measure.upper)
        tooltip = f"{points(measure.lower)} to {points(measure.upper)} points"
        marks += [
            text(_LABEL - 16, middle - 3, "name end", cut(measure_title(measure), _LONGEST)),
            text(_LABEL - 16, middle + 12, "note end", f"against {measure.baseline}"),
            Markup('<g class="{}"><title>{}</title>').format(measure.outcome.value, tooltip),
            line(lower, middle, upper, middle, "whisker"),
            line(lower, middle - 6, lower, middle + 6, "whisker"),
            line(upper, middle - 6, upper, middle + 6, "whisker"),
            Markup('<circle cx="{}" cy="{}" r="5.5"/></g>').format(
                axis.at(measure.difference), middle
            ),
            text(WIDTH - _NOTE + 16, middle + 5, "number", points(measure.difference)),
            text(WIDTH - 2, middle + 5, "note end", measure.outcome.value),
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
            text(_LABEL - 16, middle + 4, "name end", isolate(cut(change.class_name, _LONGEST))),
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


def _grid(axis: _Axis, height: float) -> Iterable[Markup]:
    for value in ticks(axis.low, axis.high):
        x = axis.at(value)
        zero = abs(value) < 1e-9
        yield line(x, 4, x, height - 22, "zero" if zero else "grid")
        label = points(value).replace(".0", "")
        yield text(x, height - 6, "tick middle", label)
