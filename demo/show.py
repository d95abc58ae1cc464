"""The demo's output on the terminal."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from perennial.types import Job, Move, Report

Json = dict[str, Any]

PLAIN_WIDTH = 120  # columns, where the output is no terminal
TERMS = ("loss", "ce", "vr", "lwf")


def points(value: float) -> str:
    """Format a difference of two accuracies in points, signed."""
    return f"{100 * value:+.1f}"


def percent(value: float) -> str:
    """Format an accuracy in percent."""
    return f"{100 * value:.1f}"


class Show:
    """Prints steps, notes, progress bars and tables."""

    def __init__(self) -> None:
        width = None if sys.stdout.isatty() else PLAIN_WIDTH
        self._console = Console(highlight=False, width=width)
        self._began = time.monotonic()

    def step(self, number: int, sentence: str) -> None:
        """Print the heading of a step with the time elapsed."""
        passed = time.monotonic() - self._began
        self._console.print(f"\n[bold]{number}. {sentence}[/bold] [dim]({passed:.0f} s)[/dim]")

    def note(self, sentence: str) -> None:
        """Print a sentence within a step."""
        self._console.print(f"   {sentence}", markup=False)

    def _bar(self) -> Progress:
        return Progress(
            TextColumn("   {task.description}"),
            SpinnerColumn(),
            BarColumn(30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[terms]}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )

    @contextmanager
    def counter(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show a progress bar; the yielded function advances it by a number of items."""
        with self._bar() as bar:
            task = bar.add_task(title, total=total, terms="")
            yield lambda more: bar.advance(task, more)

    @contextmanager
    def progress(self, title: str) -> Iterator[Callable[[Job], None]]:
        """Show a job's phase, step, loss terms and time left; the yielded function updates them."""
        with self._bar() as bar:
            task = bar.add_task(title, total=None, terms="")

            def update(job: Job) -> None:
                progress = job["progress"]
                given = progress["terms"]
                terms = [f"{name} {given[name]:.3f}" for name in TERMS if name in given]
                if progress["eta_s"] is not None:
                    terms.append(f"{progress['eta_s']:.0f} s left")
                bar.update(
                    task,
                    description=f"{title}: {job['phase']}",
                    completed=progress["step"],
                    total=progress["total"] or None,
                    terms="  ".join(terms),
                )

            yield update

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table with the first column left-aligned and the others right-aligned."""
        table = Table(title=title, title_justify="left", title_style="bold")
        for index, column in enumerate(columns):
            table.add_column(column, justify="left" if index == 0 else "right")
        for row in rows:
            table.add_row(*row)
        self._console.print(table)

    def history(self, moves: Iterable[Move]) -> None:
        """Print the history of an alias."""
        rows = [
            [
                str(move["revision"]),
                move["kind"],
                str(move["from_version"] or ""),
                str(move["to_version"] or ""),
                move["reason"],
            ]
            for move in moves
        ]
        self.table("demo@production", ["revision", "move", "from", "to", "reason"], rows)

    def report(self, title: str, report: Report) -> None:
        """Print a forgetting report: what was learned and lost, the reasons, and the measures."""
        self._console.print(f"   {title} is version {report['version']}: {report['verdict']}")
        summary = report["summary"]
        for sentence in (summary["learned"], summary["lost"], summary["go_live"]):
            self.note(sentence)
        for reason in report["reasons"]:
            self.note(f"- {reason}")
        rows = [
            [
                f"{measure['kind']}: {measure['name']}"
                + (f", {measure['classes']} classes" if measure["asked"] != "own" else "")
                + (f", R@{measure['depth']}" if measure["depth"] > 1 else ""),
                measure["baseline"],
                str(measure["count"]),
                percent(measure["right_before"] / measure["count"]),
                percent(measure["right"] / measure["count"]),
                points(measure["difference"]),
                f"{points(measure['interval_lower'])} .. {points(measure['upper'])}",
                points(-measure["tolerance"]),
                measure["outcome"],
            ]
            for measure in report["measures"]
        ]
        columns = ["measure", "against", "n", "before %", "after %", "change", "interval"]
        self.table(
            f"Forgetting report of version {report['version']}", [*columns, "floor", ""], rows
        )

    def accuracies(self, report: Report, rows: Iterable[tuple[str, float, float]]) -> None:
        """Print accuracies on held-out images before and after an update."""
        before, after = (f"version {report[number]}, %" for number in ("parent", "version"))
        cells = [[name, percent(old), percent(new), points(new - old)] for name, old, new in rows]
        self.table("Accuracy on held-out images", ["", before, after, "change"], cells)

    def summary(self, rows: Sequence[Json]) -> None:
        """Print the final table, which compares the updates."""
        cells = [
            [
                row["update"],
                *("" if change is None else points(change) for change in row["changes"].values()),
                f"{100 * row['unseen_hits']:.0f} %",
                row["verdict"],
                row["outcome"],
            ]
            for row in rows
        ]
        columns = ["update", *rows[0]["changes"], "unseen images correct", "gate", "outcome"]
        self.table(
            "Changes in points: of new classes, of earlier classes, and of emoji since version 1",
            [column.replace(" ", "\n") for column in columns],
            cells,
        )
        passed = time.monotonic() - self._began
        self._console.print(f"\nDone in {passed:.0f} s.")
