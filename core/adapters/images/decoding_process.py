"""The parent's side of one decoding process, which the parent does not trust."""

import math
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from core.adapters.images import child

START_S = 60.0  # importing Pillow takes a fraction of a second, but the machine may be busy
_OUTCOME = 1  # byte
_TRIES = 2
# Isolated mode ignores environment variables and every folder that others could write to. Our own
# folder is not on the path either, so the program adds it. What Pillow imports lazily, from Python
# 3.15 on, is imported at once: later, no file can be opened.
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "getattr(sys, 'set_lazy_imports_filter', id)(lambda *_: False); "
    "from core.adapters.images.child import main; main()"
)
_ROOT = Path(child.__file__).parents[3]


class ChildFailed(Exception):
    """The process crashed on an image, timed out or violated the protocol."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits for decoding one image."""

    seconds: float
    memory_bytes: int
    max_pixels: int
    stored_side: int

    @property
    def reply_bytes(self) -> int:
        """The bytes of the largest stored image: its raw pixels, and a file around them."""
        return self.stored_side * self.stored_side * 4 + 65536


class DecodingProcess:
    """A child process that decodes one image at a time; not safe to share between threads."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self.layers: tuple[str, ...] = ()  # of confinement, set when the child has started

    def ask(
        self, data: bytes, task: bytes = child.DECODE, *, reply_bytes: int = 0
    ) -> tuple[bytes, bytes]:
        """Send an image with its task; return the reply's outcome and body. Raises ChildFailed.

        The reply may be as large as a stored image, or as `reply_bytes`. If the process has exited,
        it is replaced and the image tried once more, since something other than this image may have
        killed it.
        """
        for last in range(1, _TRIES + 1):
            try:
                return self._ask(task + child.LENGTH.pack(len(data)) + data, reply_bytes)
            except TimeoutError as error:
                self.stop()
                raise ChildFailed from error
            except (OSError, EOFError) as error:
                self.stop()
                if last == _TRIES:
                    raise ChildFailed from error
        raise AssertionError

    def start(self) -> socket.socket:
        """Start the child unless it is running, which sets `layers`; return its socket."""
        return self._socket or self._start()

    def stop(self) -> None:
        """Kill the child, if it is running."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _ask(self, request: bytes, reply_bytes: int) -> tuple[bytes, bytes]:
        connection = self.start()
        deadline = time.monotonic() + self._limits.seconds
        connection.settimeout(self._limits.seconds)
        connection.sendall(request)
        return self._reply(connection, deadline, reply_bytes)

    def _reply(
        self, connection: socket.socket, deadline: float, reply_bytes: int = 0
    ) -> tuple[bytes, bytes]:
        head = _receive(connection, _OUTCOME + child.LENGTH.size, deadline)
        size = child.LENGTH.unpack(head[_OUTCOME:])[0]
        if size > max(reply_bytes, self._limits.reply_bytes):
            raise EOFError("the decoder's reply is larger than any stored image")
        return head[:_OUTCOME], _receive(connection, size, deadline)

    def _start(self) -> socket.socket:
        """Start a child and wait until it has confined itself."""
        ours, theirs = socket.socketpair()
        limits = self._limits
        numbers = (
            limits.memory_bytes,
            math.ceil(limits.seconds) + 1,
            limits.max_pixels,
            limits.stored_side,
        )
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-I", "-c", _PROGRAM, str(_ROOT), *map(str, numbers)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={},  # none of the service's secrets
                cwd="/",
            )
        self._socket = ours
        outcome, body = self._reply(ours, time.monotonic() + START_S)
        if outcome != child.READY:
            raise EOFError("the decoder did not report its sandbox layers")
        self.layers = tuple(body.decode("ascii").split(","))
        return ours


def _receive(connection: socket.socket, size: int, deadline: float) -> bytes:
    data = bytearray()
    while len(data) < size:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        block = connection.recv(min(size - len(data), 1 << 20))
        if not block:
            raise EOFError("the decoder has exited")
        data += block
    return bytes(data)
