"""Keep what a process was started with from others that may look at it."""

import ctypes
import os
import sys
from pathlib import Path

_SHOWN = b"PERENNIAL_HOME="  # tells the processes of two services on one machine apart
_BEGIN, _END = 47, 48  # env_start and env_end, counted behind the command's name in stat(5)


def hide_environment() -> None:
    """Blank what /proc/<pid>/environ shows, but for PERENNIAL_HOME; `os.environ` stays as it is.

    Linux shows the bytes that a process was started with for as long as it lives, whatever becomes
    of the variables. Call this before any thread is started. Elsewhere nothing happens.
    """
    if sys.platform != "linux":
        return
    for name, value in os.environ.items():
        os.environ[name] = value  # a copy of the C library's own, which the kernel does not show
    facts = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = int(facts[_BEGIN]), int(facts[_END])
    given = ctypes.string_at(begin, end - begin).split(b"\0") if begin else []
    shown = b"".join(line + b"\0" for line in given if line.startswith(_SHOWN))
    ctypes.memmove(begin, shown.ljust(end - begin, b"\0"), end - begin)
