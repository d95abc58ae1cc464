"""The plot of a line of updates."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure


def plot(line: Sequence[Mapping[str, Any]], joint: Mapping[str, Any], path: Path) -> None:
    """Plot what every update of a line learned and kept, and joint training's as dotted lines."""
    with mpl.rc_context({"svg.hashsalt": "perennial", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7, 3.5), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        steps = [row["classes"] for row in line]
        axes.plot(steps, [row["UT-Acc"] for row in line], label="classes taught (UT-Acc)")
        axes.plot(steps, [row["ZS-Acc"] for row in line], label="kept (ZS-Acc)")
        axes.plot(steps, [row["index"] for row in line], label="nearest neighbours as in version 1")
        axes.axhline(joint["UT-Acc"], color="C0", linestyle=":", label="all classes at once")
        axes.axhline(joint["untouched"], color="C1", linestyle=":", label="untouched (ZS-Acc)")
        axes.set(xlabel="classes taught: five, then one per update", ylabel="%", ylim=(0, 100))
        axes.legend(frameon=False, bbox_to_anchor=(1.02, 1), loc="upper left")
        figure.savefig(path, metadata={"Date": None})
