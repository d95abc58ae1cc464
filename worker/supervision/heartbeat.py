"""The facts that a worker reports with every heartbeat."""

import os
import socket
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from core.domain.values import Json
from core.exporting.available_formats import available_formats
from core.ports import HeldJob


def facts_of(
    *, device: str, queues: Sequence[str], child: int, starts: int, held: Sequence[HeldJob]
) -> Json:
    """Return the facts of a supervisor and its child, whose process id is `child`."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "child": child,
        "starts": starts,
        "device": device,
        "state": "busy" if held else "idle",
        "job": held[0].id if held else None,
        "queues": list(queues),
        "formats": list(available_formats()),
        "version": version("perennial"),
        "memory_bytes": resident_bytes(child),
    }


def resident_bytes(pid: int) -> int | None:
    """Return the bytes of memory that a process holds, or None if that is unknown."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return None
    return int(pages) * os.sysconf("SC_PAGESIZE")
