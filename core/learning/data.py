"""Batches of a run."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter
from random import Random
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import Tensor
from torch.nn.functional import normalize

from core.artifacts.store import Artifacts
from core.clip.inputs import CACHE_BYTES, DecodedImages, Pixels, Preprocess, read_image
from core.clip.model import ClipModel
from core.datasets.manifests import ManifestEntry
from core.errors import ModelNotTrainable
from core.learning.distributed import Ranks
from core.learning.methods import LearningMethod
from core.learning.step import StepData
from core.learning.student import CachedFeatures, Models
from core.learning.vocabulary import Columns, generator_of
from core.recipes.fields import ExemplarChoice, ModelPart, drawn_features, exemplar_quota
from core.recipes.rules import Recipe, distinct
from core.registry.versions import OTHER_IMAGE_TOWER
from core.training.trainer import TrainingSpec
from core.values import Digest, ignore_progress

# Batches of training images: their order, their crops and a cache of decoded images.


def batch_indices(
    images: int, batch_size: int, *, seed: int, epoch: int, batch: int
) -> Sequence[int]:
    """Return the indices of a batch's images, shuffled anew every epoch by f(seed, epoch)."""
    order: list[int] = torch.randperm(images, generator=generator_of("order", seed, epoch)).tolist()
    return order[batch * batch_size : (batch + 1) * batch_size]


def random_crop(pixels: Pixels, size: tuple[int, int], chance: Random) -> Pixels:
    """Return a view of a random window of `size` (height, width), flipped with probability 1/2."""
    height, width = size
    top = int(chance.random() * (pixels.shape[1] - height + 1))
    left = int(chance.random() * (pixels.shape[2] - width + 1))
    window = pixels[:, top : top + height, left : left + width]
    return window[:, :, ::-1] if chance.random() < 0.5 else window


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

    def batch(self, indices: Sequence[int], *, epoch: int) -> Tensor:
        """Return uint8 pixels (images, 3, height, width), cropped by f(seed, epoch, index)."""
        batch: NDArray[Any] = np.empty((len(indices), 3, *self._size), np.uint8)
        for row, index in enumerate(indices):
            batch[row] = self._view(index, epoch)
        return torch.from_numpy(batch)

    def _view(self, index: int, epoch: int) -> Pixels:
        pixels = self._decoded.of(self._entries[index])
        if not self._augment:
            return pixels
        return random_crop(pixels, self._size, Random(f"{self._seed}:{epoch}:{index}"))


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
    """Choose up to `count` candidates, equally many of each class and at least one.

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


# Feature statistics: a Gaussian of the image features of one class, which stands for its images.
#
# Source: Gaussian feature replay, as in SLCA's classifier alignment (Zhang et al., 2303.05118).


SHRINKAGE = 0.1  # of the covariance towards its diagonal, as it comes from few images


@dataclass(frozen=True, kw_only=True)
class FeatureStatistics:
    """Mean and covariance of the L2-normalised features of a class's images."""

    count: Tensor  # a scalar: how many images
    mean: Tensor  # (width,)
    covariance: Tensor  # (width, width)

    @classmethod
    def of(cls, features: Tensor) -> Self:
        """Return the statistics of features (images, width)."""
        rows = features.double().cpu()
        mean = rows.mean(dim=0)
        centred = rows - mean
        return cls(
            count=torch.tensor(len(rows)),
            mean=mean.float(),
            covariance=(centred.T @ centred / len(rows)).float(),
        )

    def merged(self, other: Self) -> "FeatureStatistics":
        """Return the statistics of both classes' images together."""
        count = self.count + other.count
        share = other.count / count
        apart = other.mean - self.mean
        within = torch.lerp(self.covariance, other.covariance, share)
        return FeatureStatistics(
            count=count,
            mean=self.mean + share * apart,
            covariance=within + share * (1 - share) * torch.outer(apart, apart),
        )

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw L2-normalised features (count, width) from the Gaussian.

        The symmetric root of the covariance makes them depend on it continuously. Eigenvectors
        alone do not: libraries differ in their signs, and in those of equal eigenvalues.
        """
        own = self.covariance.double()
        shrunk = torch.lerp(own, torch.diag(own.diagonal()), SHRINKAGE)
        values, vectors = torch.linalg.eigh(shrunk)
        normal = torch.randn(count, len(values), generator=generator, dtype=torch.double)
        root = vectors * values.clamp(min=0).sqrt() @ vectors.T
        drawn = self.mean + normal @ root
        return normalize(drawn, dim=1).float()

    def to_bytes(self) -> bytes:
        """Return the statistics as safetensors."""
        return save(vars(self))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the statistics that `to_bytes` wrote."""
        return cls(**load(data))


@dataclass(frozen=True, kw_only=True)
class DrawnFeatures:
    """Features that stand for images of classes learned before."""

    rows: Tensor  # (features, width)
    class_names: tuple[str, ...]  # of each row

    def lacks(self, spec: TrainingSpec) -> bool:
        """Return whether no feature stands for some class that was learned before."""
        return not {name.lower() for name in spec.learned} <= {
            name.lower() for name in self.class_names
        }

    @classmethod
    def of(
        cls,
        statistics: Mapping[str, Digest],
        artifacts: Artifacts,
        *,
        per_class: int,
        seed: int,
        advance: Callable[[int, int], None] = ignore_progress,
    ) -> Self:
        """Draw equally many features of each class; `advance(done, total)` is called after each.

        Raises ArtifactMissing, ArtifactCorrupt.
        """
        rows = []
        for name, digest in statistics.items():
            known = FeatureStatistics.from_bytes(artifacts.get(digest))
            rows.append(known.draw(per_class, generator_of("features of", seed, name)))
            advance(len(rows), len(statistics))
        return cls(
            rows=torch.cat(rows) if rows else torch.empty(0, 0),
            class_names=tuple(name for name in statistics for _ in range(per_class)),
        )


# The encoding of stored images with a model.


BLOCK_IMAGES = 128


class ImageEncoder:
    """Encodes stored images with a model, preprocessed as for evaluation."""

    def __init__(
        self, model: ClipModel, artifacts: Artifacts, advance: Callable[[int, int], None]
    ) -> None:
        self._model = model
        self._artifacts = artifacts
        self._advance = advance

    @torch.no_grad()
    def __call__(self, entries: Sequence[ManifestEntry]) -> Tensor:
        """Return L2-normalised features (images, width)."""
        blocks = []
        for start in range(0, len(entries), BLOCK_IMAGES):
            block = entries[start : start + BLOCK_IMAGES]
            blocks.append(self._model.encode_images(torch.stack([self._pixels(e) for e in block])))
            self._advance(start + len(block), len(entries))
        return torch.cat(blocks)

    def _pixels(self, entry: ManifestEntry) -> Tensor:
        image = read_image(self._artifacts.get(entry.artifact))
        return self._model.preprocess.evaluation_pixels(image)


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
        return batch_indices(
            self._epoch, self.batch_size, seed=self._seed, epoch=epoch, batch=batch
        )

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


# The batch loader, which reads each step's images.


class BatchLoader:
    """Loads the images of an update step by step; a rank loads its share of every batch."""

    def __init__(
        self,
        recipe: Recipe,
        columns: Columns,
        artifacts: Artifacts,
        preprocess: Preprocess,
        *,
        images: Sequence[ManifestEntry],
        exemplars: Sequence[ManifestEntry] = (),
        features: Sequence[str] = (),
        reference: Sequence[ManifestEntry] = (),
        ranks: Ranks,
    ) -> None:
        """Take the images by their use, and the class of each feature that is drawn beside them.

        Features take the exemplars' place. If the features of all images are known before the
        first step, because nothing changes them, steps have no pixels.
        """
        learned = (*images, *exemplars)
        self.count = len(learned)
        self.pixels = tuple(entry.pixels for entry in (*learned, *reference))
        self.sampler = BatchSampler(
            recipe,
            images=len(images),
            exemplars=len(exemplars) + len(features),
            reference=len(reference),
        )
        self._images = TrainingImages(
            (*learned, *reference), artifacts, preprocess, seed=recipe.seed, augment=recipe.augment
        )
        classes = [*(entry.class_name for entry in learned), *features]
        column = {name: columns.of_class(name) for name in set(classes)}
        self._target = torch.tensor([column[name] for name in classes])
        self._ranks = ranks
        self._reads_pixels = recipe.augment or recipe.part is not ModelPart.TEXT
        self._empty: Pixels = np.empty((0, 3, *preprocess.size), np.uint8)

    def step(self, step: int) -> StepData:
        """Return the data of one step, which depends only on the seed, the step and the rank."""
        epoch = self.sampler.epoch(step)
        rows = [(index, epoch) for index in self.sampler.images(step)]
        rows += [(index, step) for index in self.sampler.exemplars(step)]
        mine = rows[self._ranks.rank :: self._ranks.size]
        indices = torch.tensor([index for index, _ in mine], dtype=torch.long)
        return StepData(
            indices=indices,
            pixels=self._pixels(mine if self._reads_pixels else ()),
            target=self._target[indices],
            share=len(mine) / len(rows),
            reference=self._pixels([(index, step) for index in self.sampler.reference(step)]),
        )

    def whole(self, start: int, stop: int) -> Tensor:
        """Return the pixels of learned images `start` to `stop`, cropped as in epoch 0."""
        return self._pixels([(index, 0) for index in range(start, min(stop, self.count))])

    def _pixels(self, rows: Sequence[tuple[int, int]]) -> Tensor:
        """Return images cropped by f(seed, salt, index); each row is an index and its salt.

        NumPy concatenates them because `TrainingImages` also computes without torch.
        """
        runs = [
            self._images.batch([index for index, _ in run], epoch=salt).numpy()
            for salt, run in groupby(rows, key=itemgetter(1))
        ]
        return torch.from_numpy(np.concatenate([self._empty, *runs]))


# Features that do not change during an update: of frozen towers, and drawn from statistics.


def draw_features(
    spec: TrainingSpec,
    models: Models,
    artifacts: Artifacts,
    advance: Callable[[int, int], None],
) -> DrawnFeatures:
    """Draw the features that the recipe replays. Raises ModelNotTrainable."""
    recipe, statistics = spec.recipe, spec.feature_statistics if spec.recipe.feature_replay else {}
    if recipe.feature_replay and not all(models.share_images):
        raise ModelNotTrainable(OTHER_IMAGE_TOWER, pointer="/recipe/teacher")
    per_class = drawn_features(
        recipe.feature_replay,
        len(statistics),
        images=len(spec.images),
        classes=len(spec.classes),
    )
    return DrawnFeatures.of(
        statistics, artifacts, per_class=per_class, seed=recipe.seed, advance=advance
    )


def known_features(
    method: LearningMethod,
    models: Models,
    loader: BatchLoader,
    drawn: DrawnFeatures,
    advance: Callable[[int, int], None],
) -> CachedFeatures | None:
    """Return frozen towers' features of all images, which must not be augmented; None if none.

    The drawn features follow; they are the student's and its teachers' alike.
    """
    if models.part is not ModelPart.TEXT and not method.distils_batches:
        return None
    blocks = []
    for start in range(0, loader.count, BLOCK_IMAGES):
        pixels = loader.whole(start, start + BLOCK_IMAGES)
        blocks.append(models.know(pixels, distils=method.distils_batches))
        advance(min(start + BLOCK_IMAGES, loader.count), loader.count)
    if drawn.class_names:
        rows = drawn.rows.to(models.student.device)
        blocks.append(CachedFeatures(student=rows, teachers=(rows,) * len(blocks[0].teachers)))
    students = [block.student for block in blocks if block.student is not None]
    return CachedFeatures(
        student=torch.cat(students) if students else None,
        teachers=tuple(torch.cat(rows) for rows in zip(*(b.teachers for b in blocks), strict=True)),
    )


def feature_statistics(
    spec: TrainingSpec,
    known: CachedFeatures | None,
    artifacts: Artifacts,
    advance: Callable[[int, int], None],
) -> dict[str, Digest]:
    """Store the statistics of an update's classes; return those of all that may be replayed later.

    Those of earlier classes stay valid if the image tower is frozen. A class that is taught again
    has those of all its images. The update's own are those of its `known` features; they are not
    stored unless the recipe replays features.
    """
    if spec.recipe.part is not ModelPart.TEXT:
        return {}
    found = dict(spec.feature_statistics)
    if not spec.recipe.feature_replay or known is None or known.student is None:
        return found
    earlier = {name.lower(): name for name in found}
    classes = distinct(spec.classes)
    for done, name in enumerate(classes, start=1):
        own = [entry.class_name.lower() == name.lower() for entry in spec.images]
        statistics = FeatureStatistics.of(known.student[: len(own)][torch.tensor(own)])
        if before := earlier.get(name.lower()):
            past = FeatureStatistics.from_bytes(artifacts.get(found.pop(before)))
            statistics = past.merged(statistics)
        found[name] = artifacts.put(statistics.to_bytes())
        advance(done, len(classes))
    return found
