"""The output of a study: its tables and plots."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.study.progress import Screen
from benchmarks.study.results import plots, table
from benchmarks.study.results.runs import Results
from benchmarks.study.study import Bench


def write_all(bench: Bench, seeds: Sequence[int], folder: Path, screen: Screen) -> str:
    """Write tables and plots of all rows with a finished run; return the Markdown table."""
    results = found_by(bench, seeds, screen)
    text = table.write(bench, results, folder)
    plots.write(results, folder)
    return text


def found_by(bench: Bench, seeds: Sequence[int], screen: Screen) -> Results:
    """Return the finished runs of a plan's rows."""
    laboratory, plan = bench.laboratory, bench.plan
    return Results.of(laboratory, laboratory.untouched(screen), plan.rows, seeds, plan.sessions)
