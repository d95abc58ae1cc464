"""Stop the worker child on a signal."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from celery.exceptions import WorkerShutdown
from celery.worker import state


class Stopping:
    """True after SIGTERM or SIGINT: a running job sees it and stops; an idle child exits."""

    def __init__(self) -> None:
        self._stop_requested = False
        self._busy = False

    def __call__(self) -> bool:
        """Return whether this process has been asked to stop."""
        return self._stop_requested

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Keep signals from interrupting the block: its job stops where it can."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def install(self, **_: object) -> None:
        """Replace Celery's signal handlers, which do not inform a running task."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def _handle(self, *_: object) -> None:
        self._stop_requested = True
        state.should_stop = 0  # Celery exits with this code when the task returns
        if not self._busy:
            raise WorkerShutdown(0)
