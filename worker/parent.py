"""End a process when its parent ends, for whatever reason. Needs the standard library alone."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from threading import Thread

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
