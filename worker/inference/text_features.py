"""Cached text features of class lists."""

from collections.abc import Sequence
from functools import partial
from threading import Lock

import torch
from torch import Tensor

from core.clip.model import ClipModel
from core.clip.text import sentence_lengths
from core.domain.registry.class_texts import digest_of
from core.domain.values import Digest
from core.inference_limits import TEXTS_AT_ONCE
from worker.inference.batcher import MicroBatcher
from worker.inference.byte_limited_cache import ByteLimitedCache


class TextFeatures:
    """Features of texts, computed in parts and cached."""

    def __init__(self, batcher: MicroBatcher, *, max_bytes: int) -> None:
        self._batcher = batcher
        self._computing = Lock()
        self._kept: ByteLimitedCache[tuple[Digest, Digest], Tensor] = ByteLimitedCache(
            max_bytes=max_bytes
        )

    def known(self, digest: Digest, texts: Digest) -> Tensor | None:
        """Return the features (texts, width) of texts by a version, if they are cached."""
        return self._kept.get((digest, texts))

    def of(
        self, digest: Digest, model: ClipModel, texts: Sequence[str], templates: int = 1
    ) -> Tensor:
        """Return the features (classes, width) of texts by the version with this digest.

        With several templates, that many texts at a time stand for a class: its feature is the
        mean of theirs, normalised again (Radford et al., 2021, section 3.1.4).
        """
        key = digest, digest_of(texts, templates)
        with self._computing:  # concurrent requests for the same texts wait for this one
            found = self._kept.get(key)
            if found is None:
                found, _ = self.compute(model, texts)
                if templates > 1:
                    found = self._batcher.run(partial(_means, found, templates)).result()
                self._kept.put(key, found, found.nbytes)
        return found

    def compute(self, model: ClipModel, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return the features (texts, width) of texts, which are not cached, and their lengths.

        A length is the number of tokens that the tower reads, start and end token included.

        Between two parts, and while texts become tokens, the device is free for other work.
        """
        parts = [
            texts[first : first + TEXTS_AT_ONCE] for first in range(0, len(texts), TEXTS_AT_ONCE)
        ]
        features, lengths = [], []
        for part in parts:
            tokens = model.tokenise(part)  # (texts, context length)
            lengths.append(sentence_lengths(tokens, model.tokenizer.eot_token_id))
            features.append(self._batcher.run(partial(_encode, model, tokens)).result())
        return torch.cat(features), torch.cat(lengths)


def _means(features: Tensor, templates: int) -> Tensor:
    means = features.view(-1, templates, features.shape[-1]).mean(dim=1)
    lengths: Tensor = means.norm(dim=-1, keepdim=True)
    return means / lengths


def _encode(model: ClipModel, tokens: Tensor) -> Tensor:
    with torch.inference_mode():
        return model.encode_tokens(tokens)
