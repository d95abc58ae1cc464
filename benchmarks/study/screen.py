"""The progress of a study: a live bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

PLAIN_EVERY_S = 60.0


class Screen:
    """A Monitor that shows the current run, its step, and the time until all runs are done."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._live = self._console.is_terminal
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._live,
        )
        self._task = self._bar.add_task("", total=1, visible=False)
        self._title = ""
        self._printed_at = time.monotonic()
        self._seconds: list[float] = []
        self._began = self._printed_at

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

    def say(self, text: str) -> None:
        """Print a permanent line."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)
        self._printed_at = time.monotonic()

    def begin(self, number: int, total: int, title: str) -> None:
        """Show that the `number`-th of `total` runs begins."""
        left = ""
        if self._seconds:
            average = sum(self._seconds) / len(self._seconds)
            left = f", about {_minutes(average * (total - number + 1))} to go"
        self._title = f"[{number}/{total}] {title}"
        self._began = time.monotonic()
        if not self._live:
            self.say(f"{self._title}{left}")
        self._title += left

    def end(self, result: str) -> None:
        """Print the result of the run that has ended."""
        spent = time.monotonic() - self._began
        self._seconds.append(spent)
        self.say(f"{self._title.split(', about')[0]}: {result} ({spent:.0f} s)")
        self._bar.update(self._task, visible=False)

    def advance(
        self, phase: str, step: int, total: int, terms: Mapping[str, float] | None = None
    ) -> None:
        """Show a step of the current run."""
        loss = f", loss {terms['loss']:.3f}" if terms and "loss" in terms else ""
        text = f"{self._title}: {phase}{loss}"
        self._bar.update(
            self._task, description=text, completed=step, total=max(total, 1), visible=True
        )
        if not self._live and time.monotonic() - self._printed_at > PLAIN_EVERY_S:
            self.say(f"{text}, {step} of {total}")

    def checkpoint_due(self) -> bool:
        """Return False: a run that was stopped starts again, without a checkpoint."""
        return False

    def moved(self, count: int) -> None:
        """Ignore the bytes."""

    def skip_checkpoint(self, step: int, facts: Mapping[str, object]) -> None:
        """Do nothing; never called, for no checkpoint is due."""

    def save_checkpoint(self, digest: str, step: int) -> None:
        """Do nothing; never called, for no checkpoint is due."""

    def emit(self, kind: str, data: Mapping[str, object]) -> None:
        """Print an event of the current run."""
        self.say(f"{self._title}: {kind} {dict(data)}")

    def decoding(self, title: str, done: int, total: int) -> None:
        """Show how many images have been decoded."""
        self._title = f"{title}: images decoded"
        self.advance("once and kept", done, total)


def _minutes(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"
