"""Progress on standard error: bars on a terminal, a line for each phase elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from perennial.terminal.output import console, note
from perennial.types.jobs import Event


@contextmanager
def bytes_bar(description: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that shows how many bytes of how many have been sent or received."""
    with _bar(DownloadColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def count_bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that shows how many more of `total` are done."""
    with _bar(MofNCompleteColumn()) as bar:
        task = bar.add_task(description, total=total)
        yield lambda more: bar.advance(task, more)


@contextmanager
def job_bar() -> Iterator[Callable[[Event], None]]:
    """Yield a function that shows the phase and the step of a job that an event names."""
    present = ""
    with _bar(MofNCompleteColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task("waiting for a worker", total=None)

        def show(event: Event) -> None:
            nonlocal present
            data = event["data"]
            phase = str(data.get("phase", ""))
            if phase and phase != present:
                present = phase
                if bar.disable:
                    note(f"{phase} ...")
                bar.reset(task, description=phase, total=None)
            if "step" in data:
                bar.update(task, completed=data["step"], total=data.get("total") or None)

        yield show


def _bar(*columns: ProgressColumn) -> Progress:
    """Return a bar with a description, which is shown on a terminal alone and then vanishes."""
    shown = console(err=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *columns,
        console=shown,
        transient=True,
        disable=not shown.is_terminal,
    )
