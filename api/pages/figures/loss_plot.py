"""The terms of a training loss over its steps, each as a small plot of inline SVG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from api.pages.svg import Drawing, line, text
from core.domain.jobs.event import JobEvent

WIDTH, HEIGHT = 250, 92
TRAINING = "training"
FIRST = ("loss", "accuracy")  # in this order, then the other terms
_FACTS = frozenset({"phase", "step", "total", "group", "groups"})
_NAMES = {
    "ce": "cross-entropy",
    "vr": "distillation on random sentences",
    "lwf": "distillation on earlier classes",
    "scale": "scale of scores",
    "images_per_second": "images per second",
    "waited": "share of time waiting for images",
}


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A term of the loss, or another value of training steps."""

    name: str
    last: float
    plot: Drawing


def loss_curves(events: Sequence[JobEvent]) -> list[Curve]:
    """Return a curve of each value that the progress events of training have."""
    series: dict[str, list[tuple[float, float]]] = {}
    for event in events:
        if event.data.get("phase") == TRAINING:
            for name, value in _values(event.data).items():
                series.setdefault(name, []).append((float(event.data.get("step", 0)), value))
    names = [name for name in FIRST if name in series]
    names += [name for name in series if name not in FIRST]
    return [_curve(name, series[name]) for name in names if len(series[name]) > 1]


def _values(data: Mapping[str, object]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in data.items()
        if name not in _FACTS and isinstance(value, int | float)
    }


def _curve(name: str, found: Sequence[tuple[float, float]]) -> Curve:
    first, end = found[0][0], max(step for step, _ in found)
    low, high = min(value for _, value in found), max(value for _, value in found)
    spread = high - low or 1.0

    def place(step: float, value: float) -> tuple[float, float]:
        x = 4 + (step - first) / (end - first or 1.0) * (WIDTH - 60)
        return round(x, 1), round(10 + (high - value) / spread * (HEIGHT - 34), 1)

    path = "M" + "L".join("{} {}".format(*place(step, value)) for step, value in found)
    bottom = HEIGHT - 18
    x, y = place(*found[-1])
    marks = [
        line(4, bottom, WIDTH - 56, bottom, "zero"),
        text(4, HEIGHT - 4, "tick", f"step {first:,.0f}"),
        text(WIDTH - 56, HEIGHT - 4, "tick end", f"{end:,.0f}"),
        text(WIDTH - 48, 14, "tick", f"{high:.3g}"),
        text(WIDTH - 48, bottom, "tick", f"{low:.3g}"),
        Markup('<path d="{}" class="curve"/>').format(path),
        Markup('<circle cx="{}" cy="{}" r="3"/>').format(x, y),
    ]
    last = found[-1][1]
    label = f"{name} from step {first:,.0f} to {end:,.0f}: last {last:.3g}, {low:.3g} to {high:.3g}"
    title = _NAMES.get(name, name.replace("_", " "))
    return Curve(
        name=title, last=last, plot=Drawing(width=WIDTH, height=HEIGHT, label=label, marks=marks)
    )
