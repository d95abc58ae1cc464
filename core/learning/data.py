"""The images of a run in batches, and the exemplars that are chosen of them."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from random import Random
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.artifacts.store import Artifacts
from core.clip.inputs import CACHE_BYTES, DecodedImages, Pixels, Preprocess
from core.clip.model import ClipModel
from core.datasets.manifests import ManifestEntry
from core.learning.captions import Captions, Learned
from core.learning.distributed import Ranks
from core.learning.step import StepData
from core.learning.vocabulary import Columns, generator_of
from core.recipes.fields import ExemplarChoice, exemplar_quota
from core.recipes.rules import Recipe
from core.values import ignore_progress


class BatchLoader:
    """Loads the images of an update step by step; a rank loads its share of every batch."""

    def __init__(
        self,
        recipe: Recipe,
        columns: Columns,
        artifacts: Artifacts,
        preprocess: Preprocess,
        *,
        images: Learned,
        features: Sequence[str] = (),
        reference: Sequence[ManifestEntry] = (),
        captions: Captions | None = None,
        ranks: Ranks,
    ) -> None:
        """Take the images by their use, and the class of each feature that is drawn beside them.

        Without `captions`, none of the images may be captioned. Features take the exemplars' place.
        If the features of all images are known before the first step, because nothing changes them,
        steps have no pixels. The loss on captions compares all images of a batch, so every rank
        takes the whole batch.
        """
        learned = tuple(entry for entry, _ in images.rows)
        self.count = len(learned)
        self.pixels = tuple(entry.pixels for entry in (*learned, *reference))
        self.sampler = BatchSampler(
            recipe,
            images=images.own,
            exemplars=images.replayed + len(features),
            reference=len(reference),
        )
        self._images = TrainingImages(
            (*learned, *reference), artifacts, preprocess, seed=recipe.seed, augment=recipe.augment
        )
        self._drawn = len(features)  # before the reference images, and not among the stored ones
        self._captions = captions
        classes = [None if captioned else entry.class_name for entry, captioned in images.rows]
        self._target = columns.targets([*classes, *features])
        self._ranks = ranks
        self._reads_pixels = recipe.augment or not recipe.part.keeps_statistics

    def step(self, step: int) -> StepData:
        """Return the data of one step, which depends only on the seed, the step and the rank."""
        epoch = self.sampler.epoch(step)
        rows = [(index, epoch) for index in self.sampler.images(step)]
        rows += [(index, step) for index in self.sampler.exemplars(step)]
        mine = rows if self._captions else rows[self._ranks.rank :: self._ranks.size]
        indices = torch.tensor([index for index, _ in mine], dtype=torch.long)
        captions, fits = torch.empty(0, 0, dtype=torch.long), torch.empty(0, 0, dtype=torch.bool)
        if self._captions:
            captions, fits = self._captions.batch(rows)
        return StepData(
            indices=indices,
            pixels=self._images.batch(mine if self._reads_pixels else ()),
            target=self._target[indices],
            captions=captions,
            fits=fits,
            share=1 / self._ranks.size if self._captions else len(mine) / len(rows),
            reference=self._images.batch(
                [(index - self._drawn, step) for index in self.sampler.reference(step)]
            ),
        )

    def whole(self, start: int, stop: int) -> Tensor:
        """Return the pixels of learned images `start` to `stop`, cropped as in epoch 0."""
        return self._images.batch([(index, 0) for index in range(start, min(stop, self.count))])


# The batch sampler, which decides which images each step reads.


class BatchSampler:
    """Samples indices into one list: the update's images, then exemplars, then reference images.

    Each epoch passes once over the update's images, and over its exemplars unless the recipe has an
    `exemplar_batch`: then every batch has so many of them besides. Those and reference images are
    cycled independently and reshuffled in every cycle. All indices depend only on the seed and the
    step.
    """

    def __init__(self, recipe: Recipe, *, images: int, exemplars: int, reference: int) -> None:
        self._epoch = recipe.epoch_of(images, exemplars)
        self.batch_size = min(recipe.batch_size, self._epoch)
        self._batches = recipe.batches_of(self._epoch)
        self.steps = recipe.steps_of(self._epoch)
        self._seed = recipe.seed
        self._exemplars = range(images, images + exemplars)
        self._reference = range(images + exemplars, images + exemplars + reference)
        self._exemplar_batch = min(recipe.exemplar_batch, exemplars)
        self._reference_batch = min(recipe.batch_size, reference)
        self.learned = self.batch_size + self._exemplar_batch  # images that a step learns from

    def epoch(self, step: int) -> int:
        """Return the epoch of a step, counted from 0."""
        return step // self._batches

    def images(self, step: int) -> Sequence[int]:
        """Return the indices of a step's batch in its epoch."""
        epoch, batch = divmod(step, self._batches)
        generator = generator_of("order", self._seed, epoch)  # shuffles anew every epoch
        order: list[int] = torch.randperm(self._epoch, generator=generator).tolist()
        return order[batch * self.batch_size : (batch + 1) * self.batch_size]

    def exemplars(self, step: int) -> Sequence[int]:
        """Return the indices of the exemplars beside a step's batch."""
        return list(self._cycle("exemplars", self._exemplars, self._exemplar_batch, step))

    def reference(self, step: int) -> Sequence[int]:
        """Return the indices of the reference images in a step."""
        return list(self._cycle("reference", self._reference, self._reference_batch, step))

    def _cycle(self, name: str, pool: range, count: int, step: int) -> Iterator[int]:
        for position in range(step * count, (step + 1) * count):
            cycle, place = divmod(position, len(pool))
            if place == 0 or position == step * count:
                generator = generator_of(name, self._seed, cycle)
                order = torch.randperm(len(pool), generator=generator)
            yield pool[int(order[place])]


# Training images, with their crops and a cache of decoded images.


class TrainingImages:
    """A dataset version's images in batches; each image is decoded once if the cache has room.

    Thread-safe: several threads may make batches at once.
    """

    def __init__(
        self,
        entries: Sequence[ManifestEntry],
        artifacts: Artifacts,
        preprocess: Preprocess,
        *,
        seed: int,
        augment: bool,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._entries = entries
        self._size = preprocess.size
        self._seed = seed
        self._augment = augment
        prepare = preprocess.training_pixels if augment else preprocess.evaluation_pixels
        self._decoded = DecodedImages(artifacts, prepare, cache_bytes=cache_bytes)

    def batch(self, rows: Sequence[tuple[int, int]]) -> Tensor:
        """Return uint8 pixels (images, 3, height, width); each row is an index and its epoch.

        Crops are f(seed, epoch, index). Those of images that epochs do not pass over are of a step.
        """
        batch: NDArray[Any] = np.empty((len(rows), 3, *self._size), np.uint8)
        for place, (index, epoch) in enumerate(rows):
            pixels = self._decoded.of(self._entries[index])
            if self._augment:
                chance = Random(f"{self._seed}:{epoch}:{index}")
                pixels = random_crop(pixels, self._size, chance)
            batch[place] = pixels
        return torch.from_numpy(batch)


def random_crop(pixels: Pixels, size: tuple[int, int], chance: Random) -> Pixels:
    """Return a view of a random window of `size` (height, width), flipped with probability 1/2."""
    height, width = size
    top = int(chance.random() * (pixels.shape[1] - height + 1))
    left = int(chance.random() * (pixels.shape[2] - width + 1))
    window = pixels[:, top : top + height, left : left + width]
    return window[:, :, ::-1] if chance.random() < 0.5 else window


# The choice of exemplars: a fixed number of images of earlier updates, kept for replay.


def choose_exemplars(
    candidates: Sequence[ManifestEntry],
    encode: Callable[[Sequence[ManifestEntry]], Tensor],
    *,
    count: int,
    choice: ExemplarChoice,
    seed: int,
    advance: Callable[[int, int], None] = ignore_progress,
) -> tuple[ManifestEntry, ...]:
    """Choose up to `count` candidates of classes, equally many of each class and at least one.

    Names that differ only in case are one class, as everywhere. `encode` returns L2-normalised
    features (images, width); only herding calls it, once with all candidates. `advance(done,
    total)` is called at every choice that herding makes.
    """
    by_class: dict[str, list[int]] = defaultdict(list)
    for index, entry in enumerate(candidates):
        by_class[entry.class_name.lower()].append(index)
    quota = exemplar_quota(count, len(by_class))
    herding = choice is ExemplarChoice.HERDING
    features = encode(candidates) if herding and candidates else torch.empty(0)
    chosen: list[ManifestEntry] = []
    for name, rows in sorted(by_class.items()):
        if herding:
            kept = herd(features[rows], quota, partial(advance, len(candidates), len(candidates)))
        else:
            generator = generator_of("exemplars of", seed, name)
            kept = torch.randperm(len(rows), generator=generator)[:quota].tolist()
        chosen += [candidates[rows[place]] for place in kept]
    return tuple(chosen)


def choose_captioned(
    candidates: Sequence[ManifestEntry], *, count: int, seed: int
) -> tuple[ManifestEntry, ...]:
    """Choose up to `count` captioned candidates at random: they have no mean to stay close to."""
    generator = generator_of("captioned exemplars", seed)
    chosen = torch.randperm(len(candidates), generator=generator)[:count].tolist()
    return tuple(candidates[place] for place in sorted(chosen))


def herd(features: Tensor, count: int, chose: Callable[[], None] = lambda: None) -> list[int]:
    """Return the rows whose running mean stays closest to the mean of all, in order of choice.

    `chose` is called at every choice.

    Source: herding as in iCaRL (Rebuffi et al., 1611.07725, algorithm 4).
    """
    rows = features.double()  # (images, width)
    target = rows.mean(dim=0)
    total = torch.zeros_like(target)
    free = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    chosen: list[int] = []
    for size in range(1, min(count, len(rows)) + 1):
        distance = (target - (total + rows) / size).square().sum(dim=1)
        best = int(distance.masked_fill(~free, torch.inf).argmin())
        free[best] = False
        total += rows[best]
        chosen.append(best)
        chose()
    return chosen


# The encoding of stored images with a model.

BLOCK_IMAGES = 128


@torch.no_grad()
def encode_stored(
    model: ClipModel,
    artifacts: Artifacts,
    advance: Callable[[int, int], None],
    entries: Sequence[ManifestEntry],
) -> Tensor:
    """Return L2-normalised features (images, width), preprocessed as for evaluation."""
    decoded = DecodedImages(artifacts, model.preprocess.evaluation_pixels, cache_bytes=0)
    blocks = []
    for start in range(0, len(entries), BLOCK_IMAGES):
        pixels = [decoded.of(entry) for entry in entries[start : start + BLOCK_IMAGES]]
        blocks.append(model.encode_images(torch.from_numpy(np.stack(pixels))))
        advance(start + len(pixels), len(entries))
    return torch.cat(blocks)
