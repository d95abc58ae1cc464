"""Drawings as inline SVG, coloured by the page's style sheet: their marks, plots of measures."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from api.pages.rendering import isolate, points, ticks, whole
from core.evaluation.report import Change
from core.gate.kinds import ClassList, MeasureKind
from core.gate.measures import Measure, Ruling
from core.gate.phrases import numbered_baseline


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A drawing of marks, described by its label. It is its own markup where a page shows it."""

    width: float
    height: float
    label: str
    marks: Sequence[Markup]
    role: str = "img"  # "group" for a drawing with links
    fluid: bool = False  # as wide as its place: marks are placed across in percent

    def __html__(self) -> str:
        """Return the drawing for a page, scaled to the space that there is.

        A fluid one takes the whole width, and its text keeps its size.
        """
        if self.fluid:
            return self._markup(Markup('width="100%" height="{}" ').format(self.height))
        return self._markup(Markup('{}width="{}" ').format(self._view, self.width))

    def at(self, x: float, y: float) -> Markup:
        """Return the drawing at a place in another one, in its own size."""
        place = Markup('x="{}" y="{}" width="{}" height="{}" ')
        view = "" if self.fluid else self._view
        return self._markup(place.format(x, y, self.width, self.height) + view)

    @property
    def _view(self) -> Markup:
        return Markup('viewBox="0 0 {} {}" ').format(self.width, self.height)

    def _markup(self, size: Markup) -> Markup:
        start = Markup('<svg {}role="{}" aria-label="{}">').format(size, self.role, self.label)
        return start + Markup().join(self.marks) + Markup("</svg>")


# Marks, which escape all text. `%` takes a quarter of the time of `Markup.format`.


Place = float | str  # in pixels, or across the drawing in percent


def text(x: Place, y: float, kind: str, content: str) -> Markup:
    """Return a text; `kind` is its class in the style sheet."""
    return Markup('<text x="%s" y="%s" class="%s">%s</text>') % (x, y, kind, content)


def line(x1: Place, y1: float, x2: Place, y2: float, kind: str) -> Markup:
    """Return a line."""
    mark = Markup('<line x1="%s" y1="%s" x2="%s" y2="%s" class="%s"/>')
    return mark % (x1, y1, x2, y2, kind)


def box(x: Place, y: float, width: Place, height: float, kind: str, radius: float = 0) -> Markup:
    """Return a rectangle."""
    mark = Markup('<rect x="%s" y="%s" width="%s" height="%s" rx="%s" class="%s"/>')
    wide = width if isinstance(width, str) else round(width, 2)
    return mark % (x, y, wide, height, radius, kind)


def cut(name: str, longest: int) -> str:
    """Return a name of at most so many characters, cut if it is longer."""
    return name if len(name) <= longest else name[: longest - 1] + "…"


# Plots of measures and of changes by class.

WIDTH = 880  # of a document of plots
_LONGEST = 42  # characters of each line of a measure's name, which fits a phone
_LONGEST_CLASS = 24  # beside its counts


def measure_title(measure: Measure) -> str:
    """Return the name of a measure for tables."""
    return " · ".join(measure_parts(measure))


def measure_parts(measure: Measure) -> tuple[str, str]:
    """Return of what images a measure is, and what it counts there, for plots."""
    counts, count = "top-1", "" if measure.classes is None else f"{measure.classes:,} "
    if measure.asked is ClassList.UNION:
        counts = f"all {count}classes"
    if measure.asked is ClassList.WITH_SUITES:
        counts = f"with suites, {count}classes"
    if measure.asked is ClassList.LEARNED:
        counts = f"learned alone, {count}classes"
    if measure.asked is ClassList.DEFAULT:
        counts = f"by default, {count}classes"
    place = measure.place.removeprefix("the ")
    among = ", among all" if measure.asked is ClassList.UNION else ""
    place, counts = {
        MeasureKind.ZERO_SHOT: (measure.name, counts),
        MeasureKind.IMAGE_TO_TEXT: (place, f"image → text R@{measure.depth}{among}"),
        MeasureKind.TEXT_TO_IMAGE: (place, f"text → image R@{measure.depth}{among}"),
        MeasureKind.HOLDOUT: (f"holdout of {measure.name}", counts),
        MeasureKind.HOLDOUTS: (f"holdouts of {measure.name}", counts),
        MeasureKind.GAIN: ("own holdout", "gain"),
    }[measure.kind]
    of_captions = f", R@{measure.depth} both ways" if measure.both_directions else ""
    of_prompts = ", own prompts" if measure.own_prompts else ""
    flips = " · negative flips" if measure.formerly_right else ""
    return place, f"{counts}{of_captions}{of_prompts}{flips}"


def interval_plot(measures: Sequence[Ruling]) -> Drawing:
    """Draw the interval of each measure, with the area beyond its tolerance shaded.

    Where another bound than the interval's lower end decides, a triangle below the line marks it.
    """
    row = 82
    shown = [x for m in measures for x in (m.lower, m.interval_lower, m.upper, -m.tolerance)]
    axis = _axis(shown, least=0.01)
    marks: list[Markup] = []
    for index, measure in enumerate(measures):
        place, counts = measure_parts(measure)
        top = index * row
        middle = top + 62
        limit = axis.at(-measure.tolerance)
        lower, upper = axis.at(measure.interval_lower), axis.at(measure.upper)
        tooltip = f"{points(measure.interval_lower)} to {points(measure.upper)} points"
        ruling = measure.outcome.value
        if measure.decides_apart:
            ruling = f"▲ {points(measure.lower)} · {ruling}"  # short, for a phone
            tooltip = f"{tooltip}; {points(measure.lower)} decides"
        marks += [
            text(0, top + 14, "name", cut(place, _LONGEST)),
            text("100%", top + 14, "number end", points(measure.difference)),
            text(0, top + 30, "note", cut(counts, _LONGEST)),
            text(0, top + 46, "note", f"against {numbered_baseline(measure)}"),
            text("100%", top + 46, "note end", ruling),
            box(
                axis.at(axis.low),
                middle - 10,
                axis.between(axis.low, -measure.tolerance),
                20,
                "beyond",
            ),
            *_grid(axis, middle - 10, middle + 10),
            line(limit, middle - 10, limit, middle + 10, "limit"),
            Markup('<g class="{}"><title>{}</title>').format(measure.outcome.value, tooltip),
            line(lower, middle, upper, middle, "whisker"),
            line(lower, middle - 6, lower, middle + 6, "whisker"),
            line(upper, middle - 6, upper, middle + 6, "whisker"),
            Markup('<circle cx="{}" cy="{}" r="5.5"/></g>').format(
                axis.at(measure.difference), middle
            ),
        ]
        if measure.decides_apart:
            marks.append(text(axis.at(measure.lower), middle + 17, "bound middle", "▲"))
    label = "Intervals of all measures against their tolerance"
    return _below_each_other(axis, marks, row * len(measures), label)


def change_plot(changes: Sequence[Change]) -> Drawing:
    """Draw the change of each class as a bar with its interval, in the given order."""
    row = 38
    axis = _axis(
        [bound for change in changes for bound in (change.lower, change.upper)], least=0.02
    )
    marks: list[Markup] = []
    for index, change in enumerate(changes):
        top = index * row
        middle = top + 26
        interval = f"{points(change.lower)} to {points(change.upper)} points"
        gained_lost = f"{change.gained} gained, {change.lost} lost"
        tooltip = f"{isolate(change.class_name)}: {interval}, {gained_lost}"
        shown = f"{points(change.difference)} · {counts_of(change)}"
        kind = "worse" if change.difference < 0 else "better" if change.difference else "same"
        low, high = min(0.0, change.difference), max(0.0, change.difference)
        marks += [
            text(0, top + 14, "name", isolate(cut(change.class_name, _LONGEST_CLASS))),
            text("100%", top + 14, "note end", shown),
            *_grid(axis, middle - 7, middle + 7),
            Markup("<g><title>%s</title>") % tooltip,
            box(axis.at(low), middle - 5, axis.between(low, high), 10, kind, 2),
            line(axis.at(change.lower), middle, axis.at(change.upper), middle, "reach"),
            Markup("</g>"),
        ]
    return _below_each_other(axis, marks, row * len(changes), "Change of each class, worst first")


def counts_of(change: Change) -> str:
    """Return how many images of a class were and are right, of how many."""
    return f"{whole(change.right_before)} → {whole(change.right)} of {whole(change.images)}"


def _below_each_other(axis: "_Axis", marks: list[Markup], height: float, label: str) -> Drawing:
    """Return a drawing of rows with the numbers of their axis below."""
    for value in ticks(axis.low, axis.high, wanted=5):
        name = points(value).replace(".0", "")
        marks.append(text(axis.at(value), height + 14, "tick middle", name))
    return Drawing(width=WIDTH, height=height + 20, label=label, marks=marks, fluid=True)


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """Maps fractions to places across a fluid drawing, whose edges have room for numbers."""

    low: float
    high: float

    def at(self, value: float) -> str:
        return f"{3 + self._share(value):.2f}%"

    def between(self, low: float, high: float) -> str:
        return f"{self._share(high) - self._share(low):.2f}%"

    def _share(self, value: float) -> float:
        inside = min(max(value, self.low), self.high)
        return 94 * (inside - self.low) / (self.high - self.low)


def _axis(values: Iterable[float], *, least: float) -> _Axis:
    found = [0.0, *values]
    low, high = min(found), max(found)
    pad = max(least, (high - low) * 0.06)
    return _Axis(low=max(-1.05, low - pad), high=min(1.05, high + pad))


def _grid(axis: _Axis, top: float, bottom: float) -> Iterator[Markup]:
    for value in ticks(axis.low, axis.high, wanted=5):
        x = axis.at(value)
        yield line(x, top, x, bottom, "zero" if abs(value) < 1e-9 else "grid")
