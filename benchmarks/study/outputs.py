"""The output of a study: its tables and plots."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.study import curve
from benchmarks.study import measured as measured_table
from benchmarks.study import results as table
from benchmarks.study.results import Results
from benchmarks.study.screen import Screen
from benchmarks.study.study import Study, spent


def write_all(
    study: Study, seeds: Sequence[int], folder: Path, screen: Screen, *, measured: bool = False
) -> str:
    """Write tables and plots of all rows with a finished run; return the Markdown table.

    That is `measured.md` if it is to be written as well. A plan with a curve has `curve.md` too, of
    how far its rows are off it.
    """
    from benchmarks.study import plots  # takes a second: matplotlib

    results = found_by(study, seeds, screen)
    text = table.write(study, results, folder)
    plots.write(results, folder, study.plan.curve)
    off = curve.of_results(results, study.plan.curve, study.runner.queries.retained)
    if off:
        lines = ["## Off the curve (95 % intervals)\n", *curve.table(off, spent(study))]
        (folder / "curve.md").write_text("\n".join(lines))
        text = "\n".join([text, *lines])
    return measured_table.write(study, results, folder) if measured else text


def found_by(study: Study, seeds: Sequence[int], screen: Screen) -> Results:
    """Return the finished runs of a plan's rows."""
    runner, plan = study.runner, study.plan
    return Results.of(runner, runner.untouched(screen), plan.rows, seeds, plan.sessions)
