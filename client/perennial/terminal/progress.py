"""Progress on standard error: bars on a terminal, a line for each phase elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from perennial.terminal.output import console, note
from perennial.types.jobs import Event


@contextmanager
def bytes_bar(description: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that shows how many bytes of how many have been sent or received."""
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    shown = console(err=True)
    with Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def count_bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that shows how many more of `total` are done."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    shown = console(err=True)
    with Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal) as bar:
        task = bar.add_task(description, total=total)
        yield lambda more: bar.advance(task, more)


class JobProgress:
    """The phases and steps of a job, told by its events."""

    def __init__(self) -> None:
        shown = console(err=True)
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
        self._bar = Progress(
            *columns,
            TimeRemainingColumn(),
            console=shown,
            transient=True,
            disable=not shown.is_terminal,
        )
        self._task = self._bar.add_task("waiting for a worker", total=None)
        self._phase = ""

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def tell(self, event: Event) -> None:
        """Show what an event says of the job's phase and step."""
        data = event["data"]
        phase = str(data.get("phase", ""))
        if phase and phase != self._phase:
            self._phase = phase
            if self._bar.disable:
                note(f"{phase} ...")
            self._bar.reset(self._task, description=phase, total=None)
        if "step" in data:
            total = data.get("total") or None
            self._bar.update(self._task, completed=data["step"], total=total)
