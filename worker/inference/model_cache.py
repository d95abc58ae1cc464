"""The versions that the inference process has loaded."""

from collections.abc import Callable
from threading import Lock

import torch

from core.clip.model import ClipModel
from core.clip.weights import load
from core.domain.registry.version import Weights
from core.domain.values import Digest
from core.ports import Artifacts
from worker.inference.byte_limited_cache import ByteLimitedCache


class ModelCache:
    """Loaded versions by digest, verified at every load; the least recently used are evicted.

    `prepare` is called with each version before it counts as loaded, and returns what is served.
    """

    def __init__(
        self,
        artifacts: Artifacts,
        device: torch.device,
        *,
        max_bytes: int,
        prepare: Callable[[ClipModel], ClipModel] = lambda model: model,
    ) -> None:
        self._artifacts = artifacts
        self._device = device
        self._prepare = prepare
        self._loading = Lock()
        self._sizes: dict[Digest, int] = {}
        self._models: ByteLimitedCache[Digest, ClipModel] = ByteLimitedCache(max_bytes=max_bytes)

    @property
    def max_bytes(self) -> int:
        """The limit on the bytes of loaded tensors; a single larger version is loaded anyway."""
        return self._models.max_bytes

    def get(self, digest: Digest) -> ClipModel:
        """Return the version, loading it if needed. Raises ArtifactMissing or ArtifactCorrupt."""
        found = self._models.get(digest)
        if found is None:
            with self._loading:  # one load at a time; loaded versions are served meanwhile
                found = self._models.get(digest) or self._load(digest)
        return found

    def size_of(self, digest: Digest) -> int:
        """Return the bytes of a version's tensors. Raises ArtifactMissing or ArtifactCorrupt."""
        if digest not in self._sizes:
            weights = Weights.from_bytes(self._artifacts.get(digest))
            self._sizes[digest] = sum(entry.size for entry in weights.tensors)
        return self._sizes[digest]

    def digests(self) -> list[Digest]:
        """Return the digests of the loaded versions, sorted."""
        return sorted(self._models.keys())

    def _load(self, digest: Digest) -> ClipModel:
        size = self.size_of(digest)
        self._models.make_room(size)  # before the new version takes memory
        model = self._prepare(load(digest, self._artifacts, self._device).freeze())
        self._models.put(digest, model, size)
        return model
