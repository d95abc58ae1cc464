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
class Learned:
    """The images that an update learns from, in the order of their indices."""

    images: Sequence[ManifestEntry]  # of the update's classes
    captioned: Sequence[ManifestEntry] = ()  # whose captions it teaches
    exemplars: Sequence[ManifestEntry] = ()  # of classes learned before
    captioned_exemplars: Sequence[ManifestEntry] = ()  # of updates that taught captions

    @property
    def rows(self) -> tuple[tuple[ManifestEntry, bool], ...]:
        """Each image, and whether its texts are captions."""
        return (
            *((entry, False) for entry in self.images),
            *((entry, True) for entry in self.captioned),
            *((entry, False) for entry in self.exemplars),
            *((entry, True) for entry in self.captioned_exemplars),
        )

    @property
    def own(self) -> int:
        """The number of the update's own images, which come first."""
        return len(self.images) + len(self.captioned)

    @property
    def replayed(self) -> int:
        """The number of exemplars."""
        return len(self.exemplars) + len(self.captioned_exemplars)

    @property
    def teaches_captions(self) -> bool:
        """True if any image has captions."""
        return bool(self.captioned or self.captioned_exemplars)


@dataclass(frozen=True, kw_only=True)
class Captions:
    """The captions of all learned images in the loader's order, then of drawn features.

    Those of a class have its prompt. Captions with the same tokens are one, and near-duplicates
    that were captioned have the captions of each other.
    """

    tokens: Tensor  # token ids (different captions, context)
    own: tuple[tuple[int, ...], ...]  # of each image, the captions to draw from
    fitting: tuple[frozenset[int], ...]  # of each image, with those of its near-duplicates
    seed: int

    @classmethod
    def of(
        cls, spec: TrainingSpec, model: ClipModel, images: Learned, features: Sequence[str]
    ) -> Self:
        """Return the captions of images and of the classes that features are drawn of."""
        fill = spec.prompt.fill
        texts = [
            entry.texts if captioned else (fill(entry.class_name),)
            for entry, captioned in images.rows
        ]
        texts += [(fill(name),) for name in features]
        told = model.tokenise([text for each in texts for text in each])
        tokens, row = torch.unique(told, dim=0, return_inverse=True)
        rows = iter(row.tolist())
        own = [tuple(next(rows) for _ in each) for each in texts]
        shared: dict[str, set[int]] = defaultdict(set)
        groups: list[str] = [
            entry.group if captioned else f"of a class {place}"
            for place, (entry, captioned) in enumerate(images.rows)
        ]
        groups += [f"drawn {place}" for place in range(len(features))]
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
