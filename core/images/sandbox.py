"""Decode untrusted images in confined processes, which their parent does not trust."""

import logging
import math
import queue
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from core.errors import ImageAnimated, ImageCorrupt, ImageTooLarge, Invalid, UnsupportedImage
from core.images import child
from core.images.child import ANIMATED, DECODE, HEAD, PIXELS, PREVIEW, UNSUPPORTED
from core.images.confinement import CALLS
from core.images.decoder import DecodedImage
from core.images.frames import CORRUPT, LENGTH, OK, TOO_LARGE
from core.images.inputs import ImageInput, pack_input
from core.images.process import ConfinedProcess
from core.values import Digest

log = logging.getLogger(__name__)

_TRIES = 2


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


class DecodingProcess(ConfinedProcess):
    """A child process that decodes one image at a time; not safe to share between threads."""

    def __init__(self, limits: Limits) -> None:
        numbers = (
            limits.memory_bytes,
            math.ceil(limits.seconds) + 1,
            limits.max_pixels,
            limits.stored_side,
        )
        super().__init__(
            child.__name__, numbers, seconds=limits.seconds, reply_bytes=limits.reply_bytes
        )

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
                return self.ask_once(task + LENGTH.pack(len(data)) + data, reply_bytes)
            except TimeoutError as error:
                self.stop()
                raise ChildFailed from error
            except (OSError, EOFError) as error:
                self.stop()
                if last == _TRIES:
                    raise ChildFailed from error
        raise AssertionError


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
