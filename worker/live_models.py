"""The versions that the inference process holds ready."""

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

import torch
from torch import Tensor

from core.clip.model import ClipModel
from core.clip.weights import load
from core.domain.values import Digest
from core.ports import Artifacts

KEEP_MODELS = 6
KEEP_TEXTS = 32  # class lists a model


class LiveModel:
    """A loaded version with the text features it has computed already."""

    def __init__(self, digest: Digest, model: ClipModel) -> None:
        self.digest = digest
        self.clip = model
        self._texts: OrderedDict[tuple[str, ...], Tensor] = OrderedDict()

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """Features (texts, width), kept for the next time; call it from one thread only."""
        key = tuple(texts)
        if key not in self._texts:
            with torch.inference_mode():
                self._texts[key] = self.clip.encode_texts(key)
        self._texts.move_to_end(key)
        while len(self._texts) > KEEP_TEXTS:
            self._texts.popitem(last=False)
        return self._texts[key]


class LiveModels:
    """Versions by digest, verified at every load; the least recently used ones go first."""

    def __init__(
        self, artifacts: Artifacts, device: torch.device, *, keep: int = KEEP_MODELS
    ) -> None:
        self._artifacts = artifacts
        self._device = device
        self._keep = keep
        self._lock = Lock()
        self._loading = Lock()
        self._models: OrderedDict[Digest, LiveModel] = OrderedDict()

    def get(self, digest: Digest) -> LiveModel:
        """The version, loaded if need be. Raises ArtifactMissing or ArtifactCorrupt."""
        found = self._find(digest)
        if found is None:
            with self._loading:  # one at a time; others go on being served meanwhile
                found = self._find(digest) or self._load(digest)
        return found

    def digests(self) -> list[Digest]:
        """What is loaded, in order."""
        with self._lock:
            return sorted(self._models)

    def _find(self, digest: Digest) -> LiveModel | None:
        with self._lock:
            if digest in self._models:
                self._models.move_to_end(digest)
            return self._models.get(digest)

    def _load(self, digest: Digest) -> LiveModel:
        model = LiveModel(digest, load(digest, self._artifacts, self._device).freeze())
        with self._lock:
            self._models[digest] = model
            while len(self._models) > self._keep:
                self._models.popitem(last=False)
        return model
