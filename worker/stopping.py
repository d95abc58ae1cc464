"""How the worker child is asked to end."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from celery.exceptions import WorkerShutdown
from celery.worker import state


class Stopping:
    """True once SIGTERM or SIGINT has come: a running job sees it and stops, an idle child ends."""

    def __init__(self) -> None:
        self._asked = False
        self._busy = False

    def __call__(self) -> bool:
        """Whether this process has been asked to end."""
        return self._asked

    @contextmanager
    def busy(self) -> Iterator[None]:
        """While this is open a signal interrupts nothing: the job stops where it may."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def install(self, **_: object) -> None:
        """Take the signals over from Celery, whose own handlers tell no running task."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def _handle(self, *_: object) -> None:
        self._asked = True
        state.should_stop = 0  # Celery ends with this exit code when the task returns
        if not self._busy:
            raise WorkerShutdown(0)
