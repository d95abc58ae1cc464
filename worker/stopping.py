"""Stop the worker child: on a signal, and when its parent ends."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

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


# The end of this process when its parent ends, for whatever reason.

_PR_SET_PDEATHSIG = 1
_STDIN = 0


def exit_with_parent(parent: int) -> None:
    """Have this process killed when its parent ends, on Linux by the kernel.

    Elsewhere the end of standard input, which the parent holds open, has the same effect.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    on_parent_exit(_kill_self)
    if os.getppid() != parent:  # the parent ended before this was in place
        _kill_self()


def on_parent_exit(stop: Callable[[], None]) -> None:
    """Call `stop` from a thread once standard input has ended."""

    def wait() -> None:
        while os.read(_STDIN, 4096):
            pass
        stop()

    Thread(target=wait, name="parent", daemon=True).start()


def _kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
