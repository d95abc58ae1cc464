"""The versions that the inference process holds ready."""

from threading import Lock

import torch

from core.clip.model import ClipModel
from core.clip.weights import load
from core.domain.registry.version import Weights
from core.domain.values import Digest
from core.ports import Artifacts
from worker.inference.byte_limited_cache import ByteLimitedCache


class ModelCache:
    """Versions by digest, verified at every load; the least recently used ones make room."""

    def __init__(self, artifacts: Artifacts, device: torch.device, *, max_bytes: int) -> None:
        self._artifacts = artifacts
        self._device = device
        self._loading = Lock()
        self._sizes: dict[Digest, int] = {}
        self._models: ByteLimitedCache[Digest, ClipModel] = ByteLimitedCache(max_bytes=max_bytes)

    @property
    def max_bytes(self) -> int:
        """What the tensors of all loaded versions may take, unless a single one takes more."""
        return self._models.max_bytes

    def get(self, digest: Digest) -> ClipModel:
        """Return the version, loaded if need be. Raises ArtifactMissing or ArtifactCorrupt."""
        found = self._models.get(digest)
        if found is None:
            with self._loading:  # one at a time; others go on being served meanwhile
                found = self._models.get(digest) or self._load(digest)
        return found

    def size_of(self, digest: Digest) -> int:
        """Return the bytes of a version's tensors. Raises ArtifactMissing or ArtifactCorrupt."""
        if digest not in self._sizes:
            weights = Weights.from_bytes(self._artifacts.get(digest))
            self._sizes[digest] = sum(entry.size for entry in weights.tensors)
        return self._sizes[digest]

    def digests(self) -> list[Digest]:
        """Return what is loaded, in order."""
        return sorted(self._models.keys())

    def _load(self, digest: Digest) -> ClipModel:
        size = self.size_of(digest)
        self._models.make_room(size)  # before the new one takes its memory
        model = load(digest, self._artifacts, self._device).freeze()
        self._models.put(digest, model, size)
        return model
