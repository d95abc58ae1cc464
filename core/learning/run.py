"""A training run: everything that a step changes, and its state for checkpoints."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import Any, Protocol

import torch
from torch import Tensor

from core.clip.inputs import DecodedImages
from core.clip.machine import FAILURES, is_out_of_memory, release
from core.clip.model import ClipModel
from core.errors import ModelNotTrainable, TrainingDiverged
from core.evaluation.answers import Answers, ClassAnswers, RetrievalAnswers
from core.evaluation.queries import ClassQuery, EvalQuery
from core.evaluation.results import recall_at
from core.jobs.rules import Monitor
from core.learning.distributed import Ranks, SingleRank
from core.learning.methods import SpectralProjection
from core.learning.mixing import TrainingEnd
from core.learning.optimisation import (
    clamp_scale,
    make_optimiser,
    make_scaler,
    rate_factor,
    take_step,
)
from core.learning.step import FORMAT, AveragedWeights, LossGradients, StepData
from core.learning.student import Models
from core.learning.vocabulary import Replay
from core.training.trainer import Selection, TrainingSpec
from core.values import Digest, Json, ignore_progress

Drawn = tuple[Tensor, tuple[Tensor, ...]]  # a step's sentences, and each reader's P'

SMALLEST_SCALE = 2.0**-10  # of an fp16 loss: below it, training counts as diverged


class TrainingRun:
    """A student in training; `step` counts the steps taken, of `steps`."""

    def __init__(
        self,
        *,
        spec: TrainingSpec,
        models: Models,
        gradients: LossGradients,
        replay: Replay | None,
        steps: int,
        images: Digest,
        ranks: Ranks | None = None,
        advance: Callable[[int, int], None] = ignore_progress,
    ) -> None:
        self.models = models
        self.step = 0
        self.steps = steps
        self._spec = spec
        self._images = images
        self._recipe = spec.recipe
        self._gradients = gradients
        self._replay = replay
        self._ranks = ranks or SingleRank()
        self._optimiser = make_optimiser(spec.recipe, models.parameters)
        self._scaler = make_scaler(spec.recipe, models.student.device)
        self._average = AveragedWeights(spec.recipe, models.parameters)
        self._projection = SpectralProjection(spec.recipe.projection, models.parameters, advance)
        self._terms: dict[str, float] = {}

    def advance(self, data: StepData) -> dict[str, float]:
        """Take one step; return the loss, its terms and the batch's accuracy before the step.

        Raises TrainingDiverged, with the step and the last finite terms, and torch's own errors
        when memory runs out.
        """
        again = partial(self.gradients, data, self._sentences())
        terms = again()
        self._require_finite(terms["loss"])
        self._gradients.method.adjust(self.models.parameters, self.step, again)
        self._projection.begin()
        norm = take_step(
            self._optimiser,
            self._scaler,
            self.models.parameters,
            recipe=self._recipe,
            factor=rate_factor(self._recipe.schedule, self.step, self.steps),
        )
        if self._scaler.is_enabled():  # it skips a non-finite step and lowers its scale
            self._require_finite(norm if self._scaler.get_scale() < SMALLEST_SCALE else 0.0)
        else:
            self._require_finite(norm)
        self._projection.end()
        clamp_scale(self.models.student)
        self.step += 1
        self._average.sample(self.step)
        self._terms = terms
        return terms

    def gradients(self, data: StepData, sentences: Drawn | None = None) -> dict[str, float]:
        """Run the forward and backward pass of one batch; gradients stay on the parameters.

        Without `sentences`, the step's are drawn.
        """
        data = data.to(self.models.student.device)
        numbers = self._backward(data, *(sentences or self._sentences()))
        if self._ranks.size > 1:
            self._all_reduce(numbers)
        names = [*self._gradients.names, "scale"]
        return dict(zip(names, [*numbers.tolist(), self.models.student.scale.item()], strict=True))

    @property
    def micro_batch(self) -> int:
        """The recipe's micro-batch, or the smaller one chosen after memory ran out."""
        return self._gradients.micro_batch

    def conclude(
        self,
        anchor: Callable[[], Mapping[str, Tensor]],
        score: Callable[[], tuple[float, float]],
        excess: Callable[[float], str] | None = None,
    ) -> Json:
        """Set the student to its final weights; return the method's choices.

        `anchor` loads the weights to mix the new ones with; `score` measures the student's
        accuracies on validation parts, `excess` what it loses too much of. Only some methods call
        them.
        """
        self._average.apply()
        return self._gradients.method.conclude(
            TrainingEnd(
                parameters=self.models.parameters,
                anchor=anchor,
                score=score,
                excess=excess,
                share=self._spec.share,
            )
        )

    def state(self) -> dict[str, Any]:
        """Return the state from which `restore` continues with the next step."""
        return {
            "format": FORMAT,
            "parent": self._spec.parent,
            "images": self._images,
            "step": self.step,
            "weights": {name: p.detach() for name, p in self.models.parameters.items()},
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
            "average": self._average.state(),
            "replay": self._replay.state() if self._replay else None,
            "torch": torch.get_rng_state(),
            "terms": self._terms,
            "micro_batch": self.micro_batch,
        }

    def restore(self, state: dict[str, Any]) -> bool:
        """Continue from a state that `state` returned in a run with the same spec.

        Return False, and change nothing, if it is of other images, exemplars included: one that has
        become a suite's is left out when the job is claimed again. Raises ModelNotTrainable when
        the state has another parent.
        """
        if state["images"] != self._images:
            return False
        if state["parent"] != self._spec.parent:
            raise ModelNotTrainable("The checkpoint belongs to an update of another parent.")
        with torch.no_grad():
            for name, parameter in self.models.parameters.items():
                parameter.copy_(state["weights"][name])
        self._optimiser.load_state_dict(state["optimiser"])
        self._scaler.load_state_dict(state["scaler"])
        self._average.restore(state["average"])
        if self._replay:
            self._replay.restore(state["replay"])
        torch.set_rng_state(state["torch"])
        self.step, self._terms = state["step"], state["terms"]
        self._gradients = replace(self._gradients, micro_batch=state["micro_batch"])
        return True

    def _sentences(self) -> Drawn:
        if self._replay:
            return self._replay.draw()
        return self.models.class_tokens[:0], tuple(
            classes[:0] for classes in self.models.reader_classes
        )

    def _backward(self, data: StepData, sentences: Tensor, replayed: tuple[Tensor, ...]) -> Tensor:
        """Compute the step's gradients and return its loss, terms and accuracy.

        If memory runs out, the batch is computed again in halves. That is done once in a run;
        the second error is raised.
        """
        try:
            texts = self.models.texts(
                sentences, replayed, data.captions, micro_batch=self.micro_batch
            )
            return self._gradients.backward(data, texts, self._scaler)
        except FAILURES as error:
            images = min(self.micro_batch or len(data.target), len(data.target))
            if (
                not is_out_of_memory(error)
                or self.micro_batch != self._recipe.micro_batch
                or images < 2
            ):
                raise
            for parameter in self.models.parameters.values():
                parameter.grad = None
            release(error)
        self._gradients = replace(self._gradients, micro_batch=math.ceil(images / 2))
        return self._backward(data, sentences, replayed)

    def _all_reduce(self, numbers: Tensor) -> None:
        """Sum gradients and numbers over the ranks; a gradient that all ranks lack stays None."""
        parameters = list(self.models.parameters.values())
        given = torch.tensor([float(p.grad is not None) for p in parameters]).to(numbers.device)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        self._ranks.all_reduce_sum([*gradients, numbers, given])
        for parameter, gradient, ranks in zip(parameters, gradients, given.tolist(), strict=True):
            parameter.grad = gradient if ranks else None

    def _require_finite(self, value: float) -> None:
        if not math.isfinite(value):
            raise TrainingDiverged(step=self.step, terms=self._terms)


# The student's accuracy on the validation parts of an update.


class AnswerQueries(Protocol):
    def __call__(
        self,
        model: ClipModel,
        questions: Sequence[EvalQuery],
        monitor: Monitor,
        *,
        decoded: DecodedImages,
    ) -> Sequence[Answers]:
        """Return a model's answers to queries; `decoded` holds images decoded already."""


def score(
    model: ClipModel,
    selection: Selection,
    ask: AnswerQueries,
    monitor: Monitor,
    decoded: DecodedImages,
) -> tuple[float, float]:
    """Return the accuracy on the new classes and the mean accuracy on the suites, 0 without any.

    A zero-shot suite counts with its top-1 accuracy, a captioned one with the mean R@1 of both
    directions. `decoded` caches preprocessed images over several calls.
    """
    queries: tuple[EvalQuery, ...] = (selection.new, *selection.kept)
    answers = ask(model, queries, monitor, decoded=decoded)
    new, *kept = [_accuracy(query, given) for query, given in zip(queries, answers, strict=True)]
    return new, fmean(kept) if kept else 0.0


def _accuracy(query: EvalQuery, answers: Answers) -> float:
    match query, answers:
        case ClassQuery(), ClassAnswers():
            return fmean(answers.hits(query))
        case _, RetrievalAnswers(image_ranks=images, caption_ranks=captions):
            return fmean((recall_at(images, 1), recall_at(captions, 1)))
        case _:
            raise TypeError("the answers do not match the kind of the query")
