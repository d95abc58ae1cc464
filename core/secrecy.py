"""Hiding of a process's initial environment from other processes."""

import ctypes
import os
import sys
from pathlib import Path

_SHOWN = b"PERENNIAL_HOME="  # distinguishes the processes of two services on one machine
_BEGIN, _END = 47, 48  # env_start and env_end, counted behind the command's name in stat(5)


def hide_environment() -> None:
    """Blank /proc/<pid>/environ, except PERENNIAL_HOME; `os.environ` keeps its values.

    Linux shows the environment that a process was started with for as long as it runs, whatever
    happens to the variables. Call this before any thread is started. On other systems it does
    nothing.
    """
    if sys.platform != "linux":
        return
    for name, value in os.environ.items():
        os.environ[name] = value  # moves it to a copy that the kernel does not show
    facts = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = int(facts[_BEGIN]), int(facts[_END])
    given = ctypes.string_at(begin, end - begin).split(b"\0") if begin else []
    shown = b"".join(line + b"\0" for line in given if line.startswith(_SHOWN))
    ctypes.memmove(begin, shown.ljust(end - begin, b"\0"), end - begin)
