"""The batch sampler, which decides which images each step reads."""

from collections.abc import Iterator, Sequence

import torch

from core.domain.recipes.recipe import Recipe
from core.learning.data.batches import batch_indices
from core.learning.data.vocabulary import generator_of


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
