"""The captions of an update: which one each image has in a step, and which images it fits."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Self

import torch
from torch import Tensor

from core.clip.model import ClipModel
from core.datasets.manifests import ManifestEntry
from core.training.trainer import TrainingSpec


@dataclass(frozen=True, kw_only=True)
class Captions:
    """The captions of all learned images: the update's, then exemplars, then drawn features.

    Those of a class learned before have its prompt. Captions with the same tokens are one, and
    near-duplicates have the captions of each other.
    """

    tokens: Tensor  # token ids (different captions, context)
    own: tuple[tuple[int, ...], ...]  # of each image, the captions to draw from
    fitting: tuple[frozenset[int], ...]  # of each image, with those of its near-duplicates
    seed: int

    @classmethod
    def of(
        cls,
        spec: TrainingSpec,
        model: ClipModel,
        exemplars: Sequence[ManifestEntry],
        features: Sequence[str],
    ) -> Self:
        """Return the captions of an update's images, its exemplars and the features' classes."""
        fill = spec.prompt.fill
        texts = [entry.texts for entry in spec.images]
        texts += [(fill(entry.class_name),) for entry in exemplars]
        texts += [(fill(name),) for name in features]
        told = model.tokenise([text for each in texts for text in each])
        tokens, row = torch.unique(told, dim=0, return_inverse=True)
        rows = iter(row.tolist())
        own = [tuple(next(rows) for _ in each) for each in texts]
        shared: dict[str, set[int]] = defaultdict(set)
        groups: list[str] = [entry.group for entry in spec.images]
        groups += [f"other {place}" for place in range(len(texts) - len(groups))]
        for group, found in zip(groups, own, strict=True):
            shared[group].update(found)
        return cls(
            tokens=tokens,
            own=tuple(own),
            fitting=tuple(frozenset(shared[group]) for group in groups),
            seed=spec.recipe.seed,
        )

    def batch(self, rows: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """Return one caption of each image (images, context), and which fit which (images, images).

        Each row is an image and its epoch, in which it has the same caption at every resume.
        """
        drawn = [self._draw(image, epoch) for image, epoch in rows]
        places: dict[int, list[int]] = defaultdict(list)
        for place, caption in enumerate(drawn):
            places[caption].append(place)
        fits = torch.zeros(len(rows), len(rows), dtype=torch.bool)
        for row, (image, _) in enumerate(rows):
            for caption in self.fitting[image] & places.keys():
                fits[row, places[caption]] = True
        return self.tokens[drawn], fits

    def _draw(self, image: int, epoch: int) -> int:
        return Random(f"caption:{self.seed}:{epoch}:{image}").choice(self.own[image])
