"""The port `Decoder` over a few processes that are limited in memory and time."""

import queue
from collections.abc import Iterator
from contextlib import contextmanager

from core.adapters.images.child import CORRUPT, HEAD, OK, TOO_LARGE, UNSUPPORTED
from core.adapters.images.process import ChildFailed, DecodingProcess, Limits
from core.domain.values import Digest
from core.errors import ImageCorrupt, ImageTooLarge, Invalid, UnsupportedImage
from core.ports import DecodedImage

_REFUSALS: dict[bytes, type[Invalid]] = {
    UNSUPPORTED: UnsupportedImage,
    CORRUPT: ImageCorrupt,
    TOO_LARGE: ImageTooLarge,
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

    def decode(self, data: bytes) -> DecodedImage:
        """Raises UnsupportedImage, ImageCorrupt or ImageTooLarge."""
        with self._borrowed() as process:
            try:
                outcome, body = process.ask(data)
            except ChildFailed as failure:
                raise ImageCorrupt from failure
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

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.stop()

    @contextmanager
    def _borrowed(self) -> Iterator[DecodingProcess]:
        process = self._idle.get()
        try:
            yield process
        finally:
            self._idle.put(process)
