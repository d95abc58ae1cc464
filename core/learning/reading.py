"""What each step reads from stored images."""

from collections.abc import Sequence

import torch
from torch import Tensor

from core.clip.images import Preprocess
from core.domain.dataset import ManifestEntry
from core.domain.recipe import Method
from core.learning.batches import TrainingImages
from core.learning.columns import Columns
from core.learning.course import Course
from core.learning.gradients import StepData
from core.learning.ranks import Ranks
from core.ports import Artifacts, TrainingTask


class Reading:
    """The images of an update, step by step; a rank reads its share of every batch."""

    def __init__(
        self,
        task: TrainingTask,
        exemplars: Sequence[ManifestEntry],
        columns: Columns,
        artifacts: Artifacts,
        preprocess: Preprocess,
        ranks: Ranks,
    ) -> None:
        recipe = task.recipe
        reference = task.reference if recipe.method is Method.ZSCL else ()
        learned = (*task.images, *exemplars)
        self.count = len(learned)
        self.course = Course(
            recipe, images=len(task.images), exemplars=len(exemplars), reference=len(reference)
        )
        self._images = TrainingImages(
            (*learned, *reference), artifacts, preprocess, seed=recipe.seed, augment=recipe.augment
        )
        self._target = torch.tensor([columns.of_class(entry.class_name) for entry in learned])
        self._ranks = ranks
        self._empty = torch.empty(0, 3, *preprocess.size, dtype=torch.uint8)

    def step(self, step: int) -> StepData:
        """What one step reads. A function of the seed, the step and the rank alone."""
        epoch = self.course.epoch(step)
        rows = [(index, epoch) for index in self.course.images(step)]
        rows += [(index, step) for index in self.course.exemplars(step)]
        mine = rows[self._ranks.rank :: self._ranks.size]
        indices = torch.tensor([index for index, _ in mine], dtype=torch.long)
        return StepData(
            indices=indices,
            pixels=self._pixels(mine),
            target=self._target[indices],
            share=len(mine) / len(rows),
            reference=self._pixels([(index, step) for index in self.course.reference(step)]),
        )

    def whole(self, start: int, stop: int) -> Tensor:
        """The pixels of learned images `start` to `stop`, for what is read once."""
        return self._pixels([(index, 0) for index in range(start, min(stop, self.count))])

    def _pixels(self, rows: Sequence[tuple[int, int]]) -> Tensor:
        """Images cut by (seed, salt, index): each row is an index and its salt."""
        if not rows:
            return self._empty
        salts = dict.fromkeys(salt for _, salt in rows)
        return torch.cat(
            [
                self._images.batch([index for index, other in rows if other == salt], epoch=salt)
                for salt in salts
            ]
        )
