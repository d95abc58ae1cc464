"""The port `Decoder` over a few processes that are confined, and limited in memory and time."""

import logging
import queue
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from core.adapters.images.child import ANIMATED, CORRUPT, HEAD, OK, TOO_LARGE, UNSUPPORTED
from core.adapters.images.confinement import CALLS
from core.adapters.images.process import ChildFailed, DecodingProcess, Limits
from core.domain.values import Digest
from core.errors import ImageAnimated, ImageCorrupt, ImageTooLarge, Invalid, UnsupportedImage
from core.ports import DecodedImage

log = logging.getLogger(__name__)

_REFUSALS: dict[bytes, type[Invalid]] = {
    UNSUPPORTED: UnsupportedImage,
    CORRUPT: ImageCorrupt,
    TOO_LARGE: ImageTooLarge,
    ANIMATED: ImageAnimated,
}


class SandboxDecoder:
    """Decodes untrusted images; safe to share between threads.

    As many threads decode at once as there are processes, the others wait. A process is
    started at its first use, used for many images, and replaced after a crash or a hang.
    """

    def __init__(
        self,
        *,
        processes: int,
        seconds: float,
        memory_bytes: int,
        max_pixels: int,
        stored_side: int,
    ) -> None:
        limits = Limits(
            seconds=seconds,
            memory_bytes=memory_bytes,
            max_pixels=max_pixels,
            stored_side=stored_side,
        )
        self._processes = [DecodingProcess(limits) for _ in range(processes)]
        # The last one used comes first: one busy thread keeps one process warm.
        self._idle: queue.LifoQueue[DecodingProcess] = queue.LifoQueue()
        for process in self._processes:
            self._idle.put(process)
        self._told = False

    def decode(self, data: bytes) -> DecodedImage:
        """Raises UnsupportedImage, ImageCorrupt, ImageTooLarge or ImageAnimated."""
        with self._borrowed() as process:
            try:
                outcome, body = process.ask(data)
            except ChildFailed as failure:
                raise ImageCorrupt from failure
            finally:
                self._tell(process.layers)
        if outcome != OK:
            raise _REFUSALS.get(outcome, ImageCorrupt)
        width, height, pixels, dhash, thumbnail = HEAD.unpack_from(body)
        return DecodedImage(
            data=body[HEAD.size :],
            pixels=Digest(pixels.hex()),
            width=width,
            height=height,
            dhash=dhash.hex(),
            thumbnail=thumbnail.hex(),
        )

    @property
    def layers(self) -> frozenset[str]:
        """The layers of confinement that hold here: some of USER, LIMITS and CALLS."""
        with self._borrowed() as process:
            process.start()
            return frozenset(process.layers)

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.stop()

    def _tell(self, layers: Sequence[str]) -> None:
        if layers and not self._told:
            self._told = True
            level = logging.INFO if CALLS in layers else logging.WARNING
            log.log(level, "images are decoded in confinement", extra={"layers": list(layers)})

    @contextmanager
    def _borrowed(self) -> Iterator[DecodingProcess]:
        process = self._idle.get()
        try:
            yield process
        finally:
            self._idle.put(process)
