"""The `Decoder` port over confined processes with limited memory and time."""

import logging
import queue
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from core.adapters.images.child import (
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
from core.adapters.images.confinement import CALLS
from core.adapters.images.decoding_process import ChildFailed, DecodingProcess, Limits
from core.domain.registry.image_input import ImageInput
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

    At most `processes` threads decode at once; others wait. A process is started at its first use,
    decodes many images, and is replaced after a crash or a hang.
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
        # Last in, first out: a single busy thread keeps one process warm.
        self._idle: queue.LifoQueue[DecodingProcess] = queue.LifoQueue()
        for process in self._processes:
            self._idle.put(process)
        self._layers_logged = False

    def decode(self, data: bytes) -> DecodedImage:
        """Decode an image to its stored form.

        Raises UnsupportedImage, ImageCorrupt, ImageTooLarge or ImageAnimated.
        """
        body = self._ask(data)
        width, height, pixels, dhash, thumbnail = HEAD.unpack_from(body)
        return DecodedImage(
            data=body[HEAD.size :],
            pixels=Digest(pixels.hex()),
            width=width,
            height=height,
            dhash=dhash.hex(),
            thumbnail=thumbnail.hex(),
        )

    def preview(self, data: bytes) -> bytes:
        """Return a small lossy WebP of a stored image. Raises ImageCorrupt or ImageTooLarge."""
        return self._ask(data, PREVIEW)

    def pixels(self, data: bytes, wanted: ImageInput) -> bytes:
        """Decode an image to a tower's input: RGB bytes, row by row.

        Raises UnsupportedImage, ImageCorrupt, ImageTooLarge or ImageAnimated.
        """
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
