"""The page of a map of embeddings: where two versions put the test images of a suite."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from math import ceil
from typing import Annotated, Any

from fastapi import Query
from markupsafe import Markup
from starlette.responses import RedirectResponse, Response

from api.dependencies import CurrentPrincipal, job_request
from api.http.routing import PAGES, Routes
from api.http.schemas import Number
from api.pages.browsing import PageRoute
from api.pages.forms import Chosen, SentForm, Text, whole_field
from api.pages.plots import Drawing, box, cut, text
from api.pages.rendering import PageRequest, isolate
from core.errors import IndexReportNotFound, PerennialError
from core.principal import Role
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.vectors.compare_index import embedding_maps, order_comparison
from core.vectors.rules import EmbeddingMap, Point

router = Routes(
    prefix=f"{PAGES}/models/{{model}}/map", route_class=PageRoute, include_in_schema=False
)

VERSIONS = 200  # to choose from


@router.get("", Role.VIEWER)
def show_map(
    model: str,
    asked: PageRequest,
    now: Annotated[Number, Query()],
    before: Chosen[Number] = None,
    suite: Text = "",
) -> Response:
    """Show a map of two versions' embeddings, by default with the version's parent."""
    return _show(asked, model, before, now, suite)


@router.post("", Role.CONTRIBUTOR)
def order_map(
    model: str, asked: PageRequest, principal: CurrentPrincipal, fields: SentForm
) -> Response:
    """Order the job that embeds the images by both versions, and follow it."""
    before, now = (whole_field(fields, name) for name in ("before", "now"))
    try:
        job = order_comparison(
            asked.platform,
            asked.services.notifier,
            job_request(asked.request, principal, None, None),
            model=model,
            version=now,
            baseline=before,
        )
    except PerennialError as refusal:
        return _show(asked, model, before, now, "", refusal)
    return RedirectResponse(f"{PAGES}/jobs/{job.id}", 303)


def _show(
    asked: PageRequest,
    model: str,
    before: int | None,
    now: int,
    suite: str,
    refusal: PerennialError | None = None,
) -> Response:
    with asked.platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        newer = work[Versions].get(found.id, now)
        start = max(0, now - VERSIONS)
        numbers = work[Versions].numbers(found.id, VERSIONS * 2, start)
    before = before or newer.parent or now
    context: dict[str, Any] = {"report": None, "maps": ()}
    try:
        _, report, maps = embedding_maps(asked.platform, model, now, before)
        context = {"report": report, "maps": maps}
    except IndexReportNotFound:
        pass
    chosen = next((one for one in context["maps"] if suite in {"", one.suite}), None)
    return asked.page(
        "embedding_map.html",
        model=found,
        before=before,
        now=now,
        numbers=numbers,
        chosen=chosen,
        plot=map_plot(chosen, before, now) if chosen else None,
        refusal=refusal,
        clock_now=asked.platform.clock(),
        **context,
    )


# The map as inline SVG: the old version beside the new one, on the same axes.

SIDE, GAP, TOP = 430, 20, 26  # of a panel
COLUMNS, ROW = 4, 20  # of the legend
CLASSES = 12  # with a colour, a shape and a name; the images of others are small dots
COLOURS = 6
LONGEST = 18  # characters of a name

_SHAPES = (
    "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0",  # circle
    "m-3-3h6v6h-6z",  # square
    "m0-4l4 7h-8z",  # triangle
    "m0-4l4 4l-4 4l-4-4z",  # diamond
    "m0 4l-4-7h8z",  # triangle, upside down
    "m-4-1h3v-3h2v3h3v2h-3v3h-2v-3h-3z",  # plus
)

_DOT = "m-1 -1h2v2h-2z"

Places = Sequence[tuple[str, Point]]  # class or "", and where an image is


def map_plot(found: EmbeddingMap, before: int, now: int) -> Drawing:
    """Draw the images of a map by both versions, whose panels have the same scale."""
    frequent = Counter(one.class_name for one in found.images if one.class_name is not None)
    kinds = {name: index for index, (name, _) in enumerate(frequent.most_common(CLASSES))}
    old = [(one.class_name or "", one.before) for one in found.images]
    new = [(one.class_name or "", one.now) for one in found.images]
    place = _placing([point for _, point in (*old, *new)])
    marks = [
        mark
        for number, places, left in ((before, old, 0), (now, new, SIDE + GAP))
        for mark in _panel(f"version {number}", places, kinds, place, left)
    ]
    marks += _legend(kinds)
    return Drawing(
        width=2 * SIDE + GAP,
        height=SIDE + TOP + 10 + ROW * ceil(len(kinds) / COLUMNS),
        label=f"Embeddings of {len(found.images)} images of {found.suite} by version {before}, "
        f"left, and by version {now}, right",
        marks=marks,
    )


def _placing(points: Sequence[Point]) -> tuple[float, float, float]:
    """Return the middle of all points, and the factor that brings them into a panel."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    spread = max(max(xs) - min(xs), max(ys) - min(ys)) or 1.0
    return (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2, (SIDE - 30) / spread


def _panel(
    title: str,
    places: Places,
    kinds: Mapping[str, int],
    placing: tuple[float, float, float],
    left: float,
) -> Sequence[Markup]:
    middle_x, middle_y, factor = placing
    by_class: dict[str, list[Point]] = defaultdict(list)
    for name, (x, y) in places:
        at = left + SIDE / 2 + (x - middle_x) * factor, TOP + SIDE / 2 - (y - middle_y) * factor
        by_class[name if name in kinds else ""].append(at)
    groups = [_group(name, points, kinds.get(name)) for name, points in sorted(by_class.items())]
    names = [_name(name, points, left) for name, points in by_class.items() if name in kinds]
    frame = box(left + 0.5, TOP, SIDE - 1, SIDE - 1, "frame", 4)
    return [text(left + 2, 16, "name", title), frame, *chain(groups, names)]


def _group(name: str, points: Sequence[Point], kind: int | None) -> Markup:
    shape = _DOT if kind is None else _SHAPES[kind % len(_SHAPES)]
    path = "".join(f"M{x:.1f} {y:.1f}{shape}" for x, y in points)
    colour = "rest" if kind is None else f"hue{(kind + kind // COLOURS) % COLOURS}"
    return Markup('<path d="{}" class="point {}"><title>{}</title></path>').format(
        path, colour, isolate(name) or "other images"
    )


def _legend(kinds: Mapping[str, int]) -> Iterator[Markup]:
    """Yield the mark and the name of each class, below the panels."""
    for name, kind in kinds.items():
        x = 8 + kind % COLUMNS * (2 * SIDE + GAP) / COLUMNS
        y = TOP + SIDE + 18 + ROW * (kind // COLUMNS)
        yield _group(name, [(x, y)], kind)
        yield text(x + 12, y + 4, "note", isolate(cut(name, LONGEST)))


def _name(name: str, points: Sequence[Point], left: float) -> Markup:
    """Return a class's name, where its images are on average."""
    x = sum(x for x, _ in points) / len(points)
    y = sum(y for _, y in points) / len(points)
    side = "end" if x > left + SIDE * 0.75 else "start" if x < left + SIDE * 0.25 else "middle"
    return text(round(x, 1), round(y, 1), f"over {side}", isolate(cut(name, LONGEST)))
