"""A cache of decoded images."""

from collections.abc import Callable
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from core.clip.images import read_image
from core.domain.datasets.manifest import ManifestEntry
from core.domain.values import Digest
from core.ports import Artifacts

CACHE_BYTES = 2 * 1024**3

Pixels = NDArray[np.uint8]  # (3, height, width)


class DecodedImages:
    """A thread-safe cache of the pixels that `prepare` returns for stored images.

    Each image is decoded once as long as `cache_bytes` suffice. Nothing here computes with torch,
    which would start a thread pool for every calling thread beside that of the training thread.
    """

    def __init__(
        self,
        artifacts: Artifacts,
        prepare: Callable[[Image.Image], Tensor],
        *,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._artifacts = artifacts
        self._prepare = prepare
        self._room = cache_bytes
        self._known: dict[Digest, Pixels] = {}
        self._lock = Lock()

    def of(self, entry: ManifestEntry) -> Pixels:
        """Return an image's pixels, which callers must not modify.

        Raises ArtifactMissing or ArtifactCorrupt.
        """
        known = self._known.get(entry.artifact)
        return self._decode(entry.artifact) if known is None else known

    def _decode(self, artifact: Digest) -> Pixels:
        pixels: Pixels = self._prepare(read_image(self._artifacts.get(artifact))).numpy()
        with self._lock:
            if artifact not in self._known and pixels.nbytes <= self._room:
                self._room -= pixels.nbytes
                self._known[artifact] = pixels
        return pixels
