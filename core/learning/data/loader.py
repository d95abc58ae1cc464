"""The batch loader, which reads each step's images."""

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

import numpy as np
import torch
from torch import Tensor

from core.clip.decoded_images import Pixels
from core.clip.images import Preprocess
from core.domain.datasets.manifest import ManifestEntry
from core.domain.recipes.choices import ModelPart
from core.domain.recipes.recipe import Recipe
from core.learning.class_columns import Columns
from core.learning.data.batches import TrainingImages
from core.learning.data.sampler import BatchSampler
from core.learning.distributed.ranks import Ranks
from core.learning.gradients import StepData
from core.ports import Artifacts


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
