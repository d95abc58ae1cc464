"""Decode untrusted images in confined processes, which their parent does not trust."""

import logging
import math
import queue
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.errors import ImageAnimated, ImageCorrupt, ImageTooLarge, Invalid, UnsupportedImage
from core.images import child
from core.images.child import (
    ANIMATED,
    CORRUPT,
    DECODE,
    HEAD,
    OK,
    PIXELS,
    PREVIEW,
    TOO_LARGE,
    UNSUPPORTED,
    pack_input,
)
from core.images.confinement import CALLS
from core.images.decoder import DecodedImage
from core.values import Digest, ImageInput

log = logging.getLogger(__name__)

START_S = 60.0  # importing Pillow takes a fraction of a second, but the machine may be busy
_OUTCOME = 1  # byte
_TRIES = 2
# Isolated mode ignores environment variables and every folder that others could write to. Our own
# folder is not on the path either, so the program adds it. What Pillow imports lazily, from Python
# 3.15 on, is imported at once: later, no file can be opened.
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "getattr(sys, 'set_lazy_imports_filter', id)(lambda *_: False); "
    "from core.images.child import main; main()"
)

_ROOT = Path(child.__file__).parents[2]


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
        """Start the child unless it is running, which sets `layers`; return its socket.

        A new child has confined itself then.
        """
        if self._socket is not None:
            return self._socket
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


# The decoder: a few such processes, with limited memory and time.

_REFUSALS: dict[bytes, type[Invalid]] = {
    UNSUPPORTED: UnsupportedImage,
    CORRUPT: ImageCorrupt,
    TOO_LARGE: ImageTooLarge,
    ANIMATED: ImageAnimated,
}


class SandboxDecoder:
    """Decodes untrusted images; safe to share between threads.

    At most `processes` threads decode at once; others wait. A process is started at its first use,
    decodes many images, and is replaced after a crash or a hang.
    """

    def __init__(self, limits: Limits, *, processes: int) -> None:
        self._processes = [DecodingProcess(limits) for _ in range(processes)]
        # Last in, first out: a single busy thread keeps one process warm.
        self._idle: queue.LifoQueue[DecodingProcess] = queue.LifoQueue()
        for process in self._processes:
            self._idle.put(process)
        self._layers_logged = False

    def decode(self, data: bytes) -> DecodedImage:
        """Decode an image to its stored form."""
        body = self._ask(data)
        width, height, pixels, thumbnail = HEAD.unpack_from(body)
        return DecodedImage(
            data=body[HEAD.size :],
            pixels=Digest(pixels.hex()),
            width=width,
            height=height,
            thumbnail=thumbnail.hex(),
        )

    def preview(self, data: bytes) -> bytes:
        """Return a small lossy WebP of a stored image. Raises ImageCorrupt or ImageTooLarge."""
        return self._ask(data, PREVIEW)

    def pixels(self, data: bytes, wanted: ImageInput) -> bytes:
        """Decode an image to a tower's input: RGB bytes, row by row."""
        body = self._ask(pack_input(wanted) + data, PIXELS, reply_bytes=wanted.size)
        if len(body) != wanted.size:
            raise ImageCorrupt
        return body

    @property
    def layers(self) -> frozenset[str]:
        """The layers of confinement in force here: some of USER, LIMITS and CALLS."""
        with self._borrowed() as process:
            process.start()
            return frozenset(process.layers)

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.stop()

    def _ask(self, data: bytes, task: bytes = DECODE, *, reply_bytes: int = 0) -> bytes:
        with self._borrowed() as process:
            try:
                outcome, body = process.ask(data, task, reply_bytes=reply_bytes)
            except ChildFailed as failure:
                raise ImageCorrupt from failure
            finally:
                self._log_layers_once(process.layers)
        if outcome != OK:
            raise _REFUSALS.get(outcome, ImageCorrupt)
        return body

    def _log_layers_once(self, layers: Sequence[str]) -> None:
        if layers and not self._layers_logged:
            self._layers_logged = True
            level = logging.INFO if CALLS in layers else logging.WARNING
            log.log(level, "images are decoded in a sandbox", extra={"layers": list(layers)})

    @contextmanager
    def _borrowed(self) -> Iterator[DecodingProcess]:
        process = self._idle.get()
        try:
            yield process
        finally:
            self._idle.put(process)
