"""The plots of a study, as reproducible SVG."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmarks.study.plan import Row
from benchmarks.study.results import Results, Run

STYLE: Any = {  # of matplotlib's settings
    "svg.hashsalt": "perennial",
    "svg.fonttype": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "font.size": 10,
}

COLOURS = [*(f"C{i}" for i in range(10)), "black", "gold", "navy", "teal"]

MARKERS = "osD^vPX*<>"

Looks = Mapping[str, Mapping[str, Any]]  # of matplotlib, by row


def write(results: Results, folder: Path, curve: Sequence[str] = ()) -> None:
    """Write `tradeoff.svg`; for several sessions, `matrix_<row>.svg` and `sessions.svg` too.

    With a curve through some rows, write `curve.svg`.
    """
    if not results.runs:
        return
    looks = _looks(results.rows)
    with mpl.rc_context(STYLE):
        if "retained" in results.untouched["scores"]:
            _save(_tradeoff(results, looks), folder / "tradeoff.svg")
            if all(results.of_row(name) for name in curve) and curve:
                _save(_curve(results, looks, curve), folder / "curve.svg")
        if len(results.runs[0].sessions) > 1:
            _save(_sessions(results, looks), folder / "sessions.svg")
            for row in results.rows:
                figure = _matrix(row.name, results.of_row(row.name))
                _save(figure, folder / f"matrix_{row.name}.svg")


def _looks(rows: Sequence[Row]) -> Looks:
    """Choose one colour per method; rows of the same method differ in their markers."""
    methods: dict[str, list[str]] = {}
    for row in rows:
        method = row.compared or str(row.recipe.get("method", "default"))
        methods.setdefault(method, []).append(row.name)
    return {
        name: {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[j % len(MARKERS)]}
        for i, names in enumerate(methods.values())
        for j, name in enumerate(names)
    }


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasSVG(figure)
    figure.savefig(path, format="svg", metadata={"Date": None}, bbox_inches="tight")


def _tradeoff(results: Results, looks: Looks) -> Figure:
    """Plot retention (y) against gain (x), one point per run."""
    figure = Figure(figsize=(6.4, 4.4))
    axes = figure.add_subplot()
    axes.scatter([0], [100], color="black", marker="x", label="untouched")
    for row in results.rows:
        runs = results.of_row(row.name)
        axes.scatter(
            [100 * run.scores["gain"] for run in runs],
            [100 * run.scores.get("retained/retention", 0) for run in runs],
            label=row.name,
            alpha=0.85,
            **looks[row.name],
        )
    axes.set_xlabel("gain in UT-Acc (points)")
    axes.set_ylabel("retained accuracy kept (%)")
    axes.legend(frameon=False, bbox_to_anchor=(1.02, 1), loc="upper left")
    return figure


def _curve(results: Results, looks: Looks, curve: Sequence[str]) -> Figure:
    """Plot what is kept (y) against what is learned (x): a line through the curve's rows."""
    figure = Figure(figsize=(6.4, 4.4))
    axes = figure.add_subplot()
    points = {
        row.name: [
            100 * fmean(run.scores[score] for run in results.of_row(row.name))
            for score in ("ut_acc", "retained")
        ]
        for row in results.rows
    }
    drawn = sorted((points[name] for name in curve), key=lambda point: point[0] - point[1])
    axes.plot(*zip(*drawn, strict=True), color="black", marker=".", label="the default's curve")
    for name, (learned, kept) in points.items():
        if name not in curve:
            axes.scatter([learned], [kept], label=name, **looks[name])
    axes.set_xlabel("learned: UT-Acc (%)")
    axes.set_ylabel("kept: retained accuracy (%)")
    axes.legend(frameon=False, bbox_to_anchor=(1.02, 1), loc="upper left")
    return figure


def _matrix(name: str, runs: tuple[Run, ...]) -> Figure:
    """Plot the accuracy on every session's classes after every session, a mean over seeds."""
    before = [100 * cell for cell in runs[0].untouched["scores"]["sessions/macro"]]
    count = len(before)
    rows = [
        [100 * fmean(run.matrix[t][i] for run in runs) for i in range(count)] for t in range(count)
    ]
    cells = [before, *rows]
    figure = Figure(figsize=(1.2 + 0.8 * count, 1.4 + 0.55 * count))
    axes = figure.add_subplot()
    axes.imshow(cells, cmap="viridis", vmin=0, vmax=100, aspect="auto")
    for t, row in enumerate(cells):
        for i, cell in enumerate(row):
            colour = "black" if cell > 60 else "white"
            axes.text(i, t, f"{cell:.1f}", ha="center", va="center", color=colour)
    axes.set_xticks(range(count), [str(i + 1) for i in range(count)])
    axes.set_yticks(range(count + 1), ["untouched", *(str(t + 1) for t in range(count))])
    axes.grid(visible=False)
    axes.set_xlabel("classes of session")
    axes.set_ylabel("after session")
    axes.set_title(f"{name}: accuracy (%), {len(runs)} seed(s)")
    return figure


def _sessions(results: Results, looks: Looks) -> Figure:
    """Plot UT-Acc over the classes so far, and the retained accuracy, after every session."""
    scores = [("ut_acc", "UT-Acc over classes so far (%)")]
    if "retained" in results.untouched["scores"]:
        scores.append(("retained", "retained accuracy (%)"))
    figure = Figure(figsize=(5.2 * len(scores), 4), layout="constrained")
    for place, (score, title) in enumerate(scores, start=1):
        axes = figure.add_subplot(1, len(scores), place)
        for row in results.rows:
            runs = results.of_row(row.name)
            steps = range(1, len(runs[0].sessions) + 1)
            values = [[100 * record["scores"][score] for record in run.sessions] for run in runs]
            means = [fmean(column) for column in zip(*values, strict=True)]
            if score == "retained":
                steps, means = range(len(means) + 1), [_before(results, score), *means]
            axes.plot(steps, means, label=row.name, **looks[row.name])
        axes.set_xlabel("sessions")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel(title)
    axes.legend(frameon=False, bbox_to_anchor=(1.02, 1), loc="upper left")
    return figure


def _before(results: Results, score: str) -> float:
    return 100 * float(results.untouched["scores"][score])
