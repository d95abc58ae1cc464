"""A model's line of versions and the moves of an alias as inline SVG."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from api.pages.plots import Drawing, line, measure_title, text
from api.pages.rendering import clock, points, ticks
from api.registry.report_pages import gains
from core.artifacts.store import Artifacts
from core.errors import PerennialError
from core.evaluation.report import Report
from core.evaluation.summary import largest_loss
from core.gate.measures import Measure
from core.gate.rules import Verdict
from core.registry.aliases import AliasMove, MoveKind
from core.registry.versions import Version
from core.values import Digest

LEFT, RIGHT, WIDTH = 96, 24, 1080
LANE, PANEL = 30, 150  # heights: of a branch, of the plot of gain and loss
WIDEST, NARROWEST = 120, 26  # columns
KEPT = 5000  # summaries, of a few hundred bytes


@dataclass(frozen=True, kw_only=True)
class VersionSummary:
    """The gain on the update's own holdout, and the loss that the report's summary names."""

    gain: Measure | None = None
    loss: Measure | None = None


@dataclass(frozen=True, kw_only=True)
class LinedVersion:
    """A version with what its report says and the aliases that point at it."""

    version: Version
    summary: VersionSummary
    aliases: Sequence[str] = ()

    @property
    def mark(self) -> str:
        """The name of its mark: root, passed, failed, inconclusive or unjudged.

        A version that learned from erased images may not go live, as one that failed.
        """
        if self.version.erasure is not None:
            return "failed"
        if self.version.is_root:
            return "root"
        return self.version.verdict.value if self.version.verdict else "unjudged"


def line_plot(rows: Sequence[LinedVersion], href: str) -> Drawing:
    """Draw versions, oldest first: branches above, gain and loss below, in the same columns.

    `href` is the address of a version, without its number.
    """
    step = min(WIDEST, max(NARROWEST, (WIDTH - LEFT - RIGHT) / max(len(rows), 1)))
    lanes = _lanes([row.version for row in rows])
    top = 34.0
    branches = top + LANE * (max(lanes.values(), default=0) + 1) + 14
    places = {
        row.version.number: (LEFT + step * (index + 0.5), top + LANE * lanes[row.version.number])
        for index, row in enumerate(rows)
    }
    marks: list[Markup] = [text(0, top + 5, "note", "versions")]
    for row in rows:
        marks += _edge(row.version, places)
    for row in rows:
        marks += _node(row, places[row.version.number], href)
    marks += _changes(rows, places, branches, step)
    return Drawing(
        width=max(LEFT + RIGHT + step * len(rows), 420),
        height=branches + PANEL + 8,
        role="group",
        label="Line of versions: parents and verdicts; gain and largest loss of each update, "
        "with intervals. The table below has the same numbers.",
        marks=marks,
    )


def _lanes(versions: Sequence[Version]) -> Mapping[int, int]:
    """Return the row of each version: one child goes on in its parent's, the others branch off."""
    last_child = {one.parent: index for index, one in enumerate(versions)}
    heirs = {one.parent: one.number for one in versions}
    heirs |= {one.parent: one.number for one in versions if one.verdict is Verdict.PASSED}
    lanes: dict[int, int] = {}
    ends: list[int] = []  # of each row, its last version so far
    for index, one in enumerate(versions):
        if one.parent in lanes and heirs[one.parent] == one.number:
            lane = lanes[one.parent]
        else:
            free = (row for row, end in enumerate(ends) if last_child.get(end, -1) < index)
            lane = next((row for row in free if row or not ends), len(ends))
        lanes[one.number] = lane
        ends[lane : lane + 1] = [one.number]
    return lanes


def _edge(version: Version, places: Mapping[int, tuple[float, float]]) -> Iterator[Markup]:
    if version.parent is None:
        return
    x, y = places[version.number]
    start = places.get(version.parent)
    if start is None:  # older than the first one shown
        yield line(max(x - 40, LEFT - 8), y, x, y, "edge old")
        return
    middle = (start[0] + x) / 2
    yield Markup('<path d="M{} {} C{} {} {} {} {} {}" class="edge"/>').format(
        *start, middle, start[1], middle, y, x, y
    )


def _node(row: LinedVersion, place: tuple[float, float], href: str) -> Iterator[Markup]:
    number, (x, y) = row.version.number, place
    yield Markup('<a href="{}{}" aria-label="version {}, {}{}">').format(
        href, number, number, row.mark, f", {', '.join(row.aliases)}" if row.aliases else ""
    )
    if row.aliases:
        yield Markup('<circle cx="{}" cy="{}" r="12" class="halo"/>').format(x, y)
    yield Markup('<rect x="{}" y="{}" width="24" height="24" class="target"/>').format(
        x - 12, y - 12
    )
    yield node_mark(row.mark, x, y)
    yield text(x, y - 16, "tick middle", str(number))
    yield Markup("</a>")


def node_mark(kind: str, x: float, y: float) -> Markup:
    """Return the mark of a verdict, which colour and shape tell."""
    group = Markup('<g class="node {}">{}</g>')
    match kind:
        case "root":
            shape = Markup('<rect x="{}" y="{}" width="11" height="11"/>').format(x - 5.5, y - 5.5)
        case "failed":
            shape = Markup('<path d="M{} {}l11 11m0 -11l-11 11"/>').format(x - 5.5, y - 5.5)
        case "inconclusive":
            shape = Markup('<circle cx="{}" cy="{}" r="6"/><path d="M{} {}a6 6 0 0 0 0 12z"/>')
            shape = shape.format(x, y, x, y - 6)
        case _:
            shape = Markup('<circle cx="{}" cy="{}" r="6"/>').format(x, y)
    return group.format(kind, shape)


def _changes(
    rows: Sequence[LinedVersion],
    places: Mapping[int, tuple[float, float]],
    top: float,
    step: float,
) -> Iterator[Markup]:
    """Draw the gain of each update and, beside it, the largest loss."""
    found = [m for row in rows for m in (row.summary.gain, row.summary.loss) if m]
    if not found:
        return
    low = min(0.0, *(measure.interval_lower for measure in found)) - 0.01
    high = max(0.02, *(measure.upper for measure in found)) + 0.01
    right = LEFT + step * len(rows)

    def at(value: float) -> float:
        return round(top + 14 + (high - value) / (high - low) * (PANEL - 26), 1)

    yield text(0, top + 10, "note", "change, points")
    for value in ticks(low, high, 4):
        yield line(LEFT, at(value), right, at(value), "zero" if abs(value) < 1e-9 else "grid")
        yield text(LEFT - 8, at(value) + 4, "tick end", points(value).replace(".0", ""))
    width = min(14.0, step / 3)
    for row in rows:
        x = places[row.version.number][0]
        for measure, kind, place in (
            (row.summary.gain, "gain", x - width - 1),
            (row.summary.loss, "loss", x + 1),
        ):
            if measure:
                yield _bar(measure, kind, place, width, at)


def _bar(
    measure: Measure, kind: str, x: float, width: float, at: Callable[[float], float]
) -> Markup:
    top, bottom = sorted((at(0.0), at(measure.difference)))
    middle = x + width / 2
    loss = f"largest loss: {measure_title(measure)}, against {measure.baseline}"
    what = "gain" if kind == "gain" else loss
    tooltip = (
        f"{what}: {points(measure.difference)} points "
        f"({points(measure.interval_lower)} to {points(measure.upper)})"
    )
    return Markup(
        '<g class="{}"><title>{}</title><rect x="{}" y="{}" width="{}" height="{}"/>'
        '<line x1="{}" y1="{}" x2="{}" y2="{}" class="reach"/></g>'
    ).format(
        kind, tooltip, round(x, 1), top, round(width, 1), max(round(bottom - top, 1), 1.5),
        round(middle, 1), at(measure.upper), round(middle, 1), at(measure.interval_lower),
    )  # fmt: skip


def alias_plot(history: Sequence[AliasMove]) -> Drawing:
    """Draw the versions that an alias pointed to, move by move, oldest first."""
    numbers = sorted({move.to_version for move in history if move.to_version})
    rows = {number: 22.0 + 20 * (len(numbers) - 1 - i) for i, number in enumerate(numbers)}
    step = min(120.0, max(30.0, (WIDTH - LEFT - RIGHT) / len(history)))
    marks = [text(LEFT - 12, y + 4, "tick end", f"version {number}") for number, y in rows.items()]
    marks += [line(LEFT, y, LEFT + step * len(history), y, "grid") for y in rows.values()]
    before: float | None = None
    for index, move in enumerate(history):
        x = LEFT + step * index
        y = rows[move.to_version] if move.to_version else None
        if before is not None:
            marks.append(line(x, before, x, before if y is None else y, "stair"))
        if y is not None:
            marks.append(line(x, y, x + step, y, "stair"))
            tooltip = f"{_moved(move)} by {move.actor}: {move.reason}"
            back = move.kind is MoveKind.ROLLED_BACK
            shape = f"M{x - 6} {y}l10 -6v12z" if back else f"M{x - 5} {y - 5}h10v10h-10z"
            kind = "move back" if back else "move"
            marks.append(
                Markup('<path d="{}" class="{}"><title>{}</title></path>').format(
                    shape, kind, tooltip
                )
            )
        before = y
    return Drawing(
        width=LEFT + RIGHT + step * len(history),
        height=max(rows.values(), default=20) + 22,
        label="Versions that the alias pointed to, move by move; the table below lists the moves.",
        marks=marks,
    )


def _moved(move: AliasMove) -> str:
    kind = move.kind.value.replace("_", " ")
    return f"{kind} to version {move.to_version} at {clock(move.at)} UTC"


# The gain of each version of a line, and the most that it forgot.

_known: dict[Digest, VersionSummary] = {}  # by the digest of the report, whose bytes never change


def summary_of(artifacts: Artifacts, version: Version) -> VersionSummary:
    """Return the summary of a version's newest report; an empty one if it cannot be read."""
    if version.report is None:
        return VersionSummary()
    found = _known.get(version.report)
    if found is None:
        found = _read(artifacts, version.report)
        if len(_known) >= KEPT:
            _known.clear()
        _known[version.report] = found
    return found


def _read(artifacts: Artifacts, digest: Digest) -> VersionSummary:
    try:
        report = Report.from_json(json.loads(artifacts.get(digest)))
    except PerennialError:
        return VersionSummary()
    return VersionSummary(
        gain=next(iter(gains(report)), None),
        loss=largest_loss(report.measures, report.policy["minimum_count"]),
    )
