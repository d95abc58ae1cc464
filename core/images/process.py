"""Processes that confine themselves before they read untrusted bytes."""

import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.images import confinement
from core.images.frames import LENGTH, READY

START_S = 60.0  # importing libraries takes a fraction of a second, but the machine may be busy
_OUTCOME = 1  # byte
# Isolated mode ignores Python's environment variables and every folder that others could write to.
# Our own folder is not on the path either, so the program adds it. What is imported lazily, from
# Python 3.15 on, is imported at once: later, no file can be opened.
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "getattr(sys, 'set_lazy_imports_filter', id)(lambda *_: False); "
    "from importlib import import_module; import_module(sys.argv.pop(1)).main()"
)

_ROOT = Path(confinement.__file__).parents[2]


class ConfinedProcess:
    """A child process that answers one request at a time; not safe to share between threads."""

    def __init__(
        self,
        module: str,
        arguments: Sequence[int],
        *,
        seconds: float,
        reply_bytes: int,
        environment: Mapping[str, str] | None = None,
        file: int | None = None,
    ) -> None:
        """Prepare to run `main` of a module, with arguments and maybe an open file.

        A reply comes within `seconds` and has at most `reply_bytes`, unless a request allows more.
        """
        self._module = module
        self._arguments = arguments
        self._seconds = seconds
        self._reply_bytes = reply_bytes
        self._environment = environment or {}
        self._file = file
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self.layers: tuple[str, ...] = ()  # of confinement, set when the child has started

    def start(self) -> socket.socket:
        """Start the child unless it is running, which sets `layers`; return its socket.

        A new child has confined itself then.
        """
        if self._socket is not None:
            return self._socket
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [
                    *(sys.executable, "-I", "-c", _PROGRAM, str(_ROOT), self._module),
                    *map(str, self._arguments),
                ],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=() if self._file is None else (self._file,),
                env=dict(self._environment),  # none of the service's secrets
                cwd="/",
            )
        self._socket = ours
        outcome, body = self._reply(ours, time.monotonic() + START_S)
        if outcome != READY:
            raise EOFError("the process did not report its sandbox layers")
        self.layers = tuple(body.decode("ascii").split(","))
        return ours

    def stop(self) -> None:
        """Kill the child, if it is running."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def ask_once(self, request: bytes, reply_bytes: int = 0) -> tuple[bytes, bytes]:
        """Send a task with its data; return the reply's outcome and body.

        Raises TimeoutError, or OSError or EOFError of a child that has exited or misbehaves.
        """
        connection = self.start()
        deadline = time.monotonic() + self._seconds
        connection.settimeout(self._seconds)
        connection.sendall(request)
        return self._reply(connection, deadline, reply_bytes)

    def _reply(
        self, connection: socket.socket, deadline: float, reply_bytes: int = 0
    ) -> tuple[bytes, bytes]:
        head = _receive(connection, _OUTCOME + LENGTH.size, deadline)
        size = LENGTH.unpack(head[_OUTCOME:])[0]
        if size > max(reply_bytes, self._reply_bytes):
            raise EOFError("the reply is larger than any that was asked for")
        return head[:_OUTCOME], _receive(connection, size, deadline)


def _receive(connection: socket.socket, size: int, deadline: float) -> bytes:
    data = bytearray()
    while len(data) < size:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        block = connection.recv(min(size - len(data), 1 << 20))
        if not block:
            raise EOFError("the process has exited")
        data += block
    return bytes(data)
