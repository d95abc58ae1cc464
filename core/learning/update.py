"""One update in training: everything that a step changes, and how to keep and restore it."""

import math
from typing import Any, Self

import torch
from torch import Tensor

from core.clip.model import ClipModel
from core.errors import ModelNotTrainable, TrainingDiverged
from core.learning.batches import TrainingImages, batch_count, batch_indices
from core.learning.columns import Columns
from core.learning.methods import METHODS, Terms, total
from core.learning.optimisation import clamp_scale, make_optimiser, rate_factor, take_step
from core.learning.pair import Pair
from core.learning.vocabulary import Replay, generator_of, sentences_of
from core.ports import Artifacts, TrainingTask

BLOCK_SENTENCES = 512  # that the teacher reads at once


class Update:
    """A student on its way. `step` counts the steps taken, of `steps`."""

    def __init__(
        self,
        *,
        task: TrainingTask,
        pair: Pair,
        method: Terms,
        columns: Columns,
        images: TrainingImages,
        replay: Replay | None,
    ) -> None:
        self.pair = pair
        self.step = 0
        self.batch_size = min(task.recipe.batch_size, len(task.images))
        self._batches = batch_count(len(task.images), self.batch_size)
        self.steps = self._batches * task.recipe.epochs
        self._task = task
        self._recipe = task.recipe
        self._method = method
        self._columns = columns
        self._images = images
        self._replay = replay
        self._optimiser = make_optimiser(task.recipe, pair.parameters)
        self._target = torch.tensor([columns.of_class(e.class_name) for e in task.images])
        self._terms: dict[str, float] = {}

    @classmethod
    def begin(cls, task: TrainingTask, parent: ClipModel, artifacts: Artifacts) -> Self:
        """An update at step 0; `parent` becomes its student. Raises ModelNotTrainable."""
        recipe = task.recipe
        columns = Columns.of(recipe, task.classes, task.learned, task.open_classes)
        method = METHODS[recipe.method](recipe, columns)
        pair = Pair.of(parent, recipe, task.prompt.fill_all(columns.names))
        replay = None
        if any(term.name == "vr" for term in method):
            replay = Replay(
                sentences_of(recipe, parent),
                generator_of("sentences", recipe.seed),
                pair.read_sentences,
                block=max(1, BLOCK_SENTENCES // recipe.sentences),
            )
        images = TrainingImages(
            task.images, artifacts, parent.preprocess, seed=recipe.seed, augment=recipe.augment
        )
        return cls(
            task=task, pair=pair, method=method, columns=columns, images=images, replay=replay
        )

    def advance(self) -> dict[str, float]:
        """Take one step; the loss, its terms and the batch's accuracy before it.

        Raises TrainingDiverged, with the step and the last good terms.
        """
        epoch, batch = divmod(self.step, self._batches)
        indices = batch_indices(
            len(self._task.images),
            self.batch_size,
            seed=self._recipe.seed,
            epoch=epoch,
            batch=batch,
        )
        loss, terms = self._loss(self._images.batch(indices, epoch=epoch), self._target[indices])
        self._require_finite(terms["loss"])
        loss.backward()  # type: ignore[no-untyped-call]
        factor = rate_factor(self._recipe.schedule, self.step, self.steps)
        norm = take_step(
            self._optimiser,
            self.pair.parameters,
            rate=self._recipe.learning_rate * factor,
            clip_norm=self._recipe.clip_norm,
        )
        self._require_finite(norm)
        clamp_scale(self.pair.student)
        self.step += 1
        self._terms = terms
        return terms

    def state(self) -> dict[str, Any]:
        """All that `restore` needs to go on exactly here."""
        return {
            "parent": self._task.parent,
            "step": self.step,
            "weights": {name: p.detach() for name, p in self.pair.parameters.items()},
            "optimiser": self._optimiser.state_dict(),
            "replay": self._replay.state() if self._replay else None,
            "torch": torch.get_rng_state(),
            "terms": self._terms,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken, in an update begun from the same task."""
        if state["parent"] != self._task.parent:
            raise ModelNotTrainable("The checkpoint belongs to another parent.")
        with torch.no_grad():
            for name, parameter in self.pair.parameters.items():
                parameter.copy_(state["weights"][name])
        self._optimiser.load_state_dict(state["optimiser"])
        if self._replay:
            self._replay.restore(state["replay"])
        torch.set_rng_state(state["torch"])
        self.step, self._terms = state["step"], state["terms"]

    def _loss(self, pixels: Tensor, target: Tensor) -> tuple[Tensor, dict[str, float]]:
        device = self.pair.student.device
        pixels, target = pixels.to(device), target.to(device)
        if self._replay:
            sentences, teacher_sentences = self._replay.draw()
        else:
            sentences = self.pair.class_tokens[:0]
            teacher_sentences = self.pair.teacher_classes[:0]
        student = self.pair.student_features(pixels, sentences, teacher_sentences)
        distils = len(self._method) > 1
        teacher = (
            self.pair.teacher_features(pixels, student, teacher_sentences) if distils else student
        )
        values = {term.name: term.loss(student, teacher, target) for term in self._method}
        loss = total(values, self._method)
        with torch.no_grad():
            answer = student.class_logits[:, : self._columns.competing].argmax(dim=1)
            values |= {"loss": loss, "accuracy": (answer == target).float().mean()}
            numbers = torch.stack(list(values.values())).tolist()
        return loss, dict(zip(values, numbers, strict=True))

    def _require_finite(self, value: float) -> None:
        if not math.isfinite(value):
            raise TrainingDiverged(step=self.step, terms=self._terms)
