"""Keep what a process was started with from others that may look at it."""

import ctypes
import os
import sys
from pathlib import Path

_BEGIN, _END = 47, 48  # env_start and env_end, counted behind the command's name in stat(5)


def hide_environment() -> None:
    """Blank the environment that /proc/<pid>/environ shows; `os.environ` stays as it is.

    Linux shows the bytes that a process was started with for as long as it lives, whatever becomes
    of the variables. Call this before any thread is started. Elsewhere nothing happens.
    """
    if sys.platform != "linux":
        return
    for name, value in os.environ.items():
        os.environ[name] = value  # a copy of the C library's own, which the kernel does not show
    facts = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = int(facts[_BEGIN]), int(facts[_END])
    if begin:
        ctypes.memset(begin, 0, end - begin)
