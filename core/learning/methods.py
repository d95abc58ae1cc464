"""The learning method of a recipe: the terms of its loss, and hooks around the steps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.artifacts.store import Artifacts
from core.clip.model import ClipModel
from core.learning import losses
from core.learning.losses import logits
from core.learning.mixing import (
    TrainingEnd,
    mix_best,
    mix_fixed,
    mix_per_layer,
    mix_to_fit,
    snapshot,
)
from core.learning.student import Batch, Features, Models
from core.learning.vocabulary import NO_CLASS, Columns, Sentences, sentences_of
from core.recipes.fields import LossTerm, MixingChoice
from core.recipes.rules import Recipe
from core.training.trainer import TrainingSpec
from core.values import Json, ignore_progress

# The terms of the methods' losses; with several teachers a term is the mean over them.


@dataclass(frozen=True, kw_only=True)
class Term:
    """One weighted term of a method's loss."""

    name: str
    weight: float
    loss: Callable[[Batch], Tensor]  # returns a scalar
    distils: bool = True  # whether it uses the teachers


def total(terms: Sequence[Term], values: Sequence[Tensor]) -> Tensor:
    """Return L, the weighted sum of a method's terms."""
    weighted = [term.weight * value for term, value in zip(terms, values, strict=True)]
    return torch.stack(weighted).sum()


def cross_entropy(columns: Columns) -> Term:
    """Return L_ce over the competing columns."""
    return Term(
        name="ce",
        weight=1.0,
        loss=lambda batch: losses.cross_entropy(
            batch.student.class_logits[:, : columns.competing], batch.target
        ),
        distils=False,
    )


def contrastive() -> Term:
    """Return c L_con over the captions of the batch, or c L_sig if the model has a logit bias.

    Images of classes have their prompts among the captions.
    """

    def loss(batch: Batch) -> Tensor:
        of_pairs = batch.student.bias is not None
        one = losses.sigmoid if of_pairs else losses.contrastive
        captioned = (batch.target == NO_CLASS).float().mean()  # c
        return one(batch.student.caption_logits, batch.fits) * captioned

    return Term(name="con", weight=1.0, loss=loss, distils=False)


def vocabulary_replay(recipe: Recipe) -> Term:
    """Return α L_vr."""

    def loss(student: Features, teacher: Features) -> Tensor:
        return losses.vr_lwf(student.sentence_logits, teacher.sentence_logits, recipe.temperature)

    return Term(name="vr", weight=recipe.replay_weight, loss=_mean_over_teachers(loss))


def vocabulary_crossing(recipe: Recipe) -> Term:
    """Return β L_cross."""

    def loss(student: Features, teacher: Features) -> Tensor:
        return losses.cross(
            logits(student.images, teacher.sentences, teacher.scale),
            logits(teacher.images, student.sentences, teacher.scale),
            teacher.sentence_logits,
            recipe.temperature,
        )

    return Term(name="cross", weight=recipe.cross_weight, loss=_mean_over_teachers(loss))


def class_distillation(recipe: Recipe, columns: Columns) -> Term:
    """Return α' L_lwf over the classes learned before and the current ones."""

    def loss(student: Features, teacher: Features) -> Tensor:
        seen = torch.tensor(columns.seen, device=student.images.device)
        return losses.lwf(student.class_logits, teacher.class_logits, seen, recipe.temperature)

    return Term(name="lwf", weight=recipe.lwf_weight, loss=_mean_over_teachers(loss))


def reference_images(recipe: Recipe) -> Term:
    """Return γ times ZSCL's image loss, which preserves each reference image's ranking of texts."""

    def loss(student: Features, teacher: Features) -> Tensor:
        new, old = _logits_on_teacher_texts(student, teacher)
        return losses.soft_cross_entropy(new, old, recipe.temperature)

    return Term(name="zscl_i", weight=recipe.reference_weight, loss=_mean_over_teachers(loss))


def reference_texts(recipe: Recipe) -> Term:
    """Return γ times ZSCL's text loss, which preserves each reference text's ranking of images."""

    def loss(student: Features, teacher: Features) -> Tensor:
        new, old = _logits_on_teacher_texts(student, teacher)
        return losses.soft_cross_entropy(new.T, old.T, recipe.temperature)

    return Term(name="zscl_t", weight=recipe.reference_weight, loss=_mean_over_teachers(loss))


def _logits_on_teacher_texts(student: Features, teacher: Features) -> tuple[Tensor, Tensor]:
    """Return S = s I_R E'ᵀ and S' = s I'_R E'ᵀ, whose difference trains the image tower alone."""
    scale = student.scale.detach()
    return (
        logits(student.images, teacher.classes, scale),
        logits(teacher.images, teacher.classes, scale),
    )


def _mean_over_teachers(
    loss: Callable[[Features, Features], Tensor],
) -> Callable[[Batch], Tensor]:
    return lambda batch: torch.stack(
        [loss(batch.student, teacher) for teacher in batch.teachers]
    ).mean()


# The method.


@dataclass(frozen=True, kw_only=True)
class TrainingStart:
    """A training run before its first step."""

    spec: TrainingSpec
    models: Models
    artifacts: Artifacts


class LearningMethod:
    """The terms of a recipe's loss, and its mixing after the last step.

    Subclasses change what no recipe can name, such as the baselines of a study.
    """

    share_of_steps = 1.0  # of those that the recipe's epochs have; less where a study says so

    def __init__(self, recipe: Recipe, columns: Columns) -> None:
        self.recipe = recipe
        self.columns = columns

    def terms(self) -> tuple[Term, ...]:
        """Return the terms on each batch of the update's images."""
        recipe, columns = self.recipe, self.columns
        found = [cross_entropy(columns)] if columns.competing else []
        if columns.captions:
            found.append(contrastive())
        if LossTerm.VR in recipe.terms:
            found.append(vocabulary_replay(recipe))
        if columns.distils:
            found.append(class_distillation(recipe, columns))
        if LossTerm.CROSS in recipe.terms:
            found.append(vocabulary_crossing(recipe))
        return tuple(found)

    def reference_terms(self) -> tuple[Term, ...]:
        """Return the terms on each batch of the reference set."""
        if LossTerm.REFERENCE not in self.recipe.terms:
            return ()
        return (reference_images(self.recipe), reference_texts(self.recipe))

    @property
    def replays_vocabulary(self) -> bool:
        """True if the terms use random sentences."""
        return self.recipe.replays_vocabulary

    @property
    def distils(self) -> bool:
        """True if any term uses a teacher."""
        return self.distils_batches or any(term.distils for term in self.reference_terms())

    @property
    def distils_batches(self) -> bool:
        """True if any term on the update's own images uses a teacher."""
        return any(term.distils for term in self.terms())

    @property
    def scores(self) -> bool:
        """True if `conclude` chooses by scores on validation parts."""
        return self.recipe.mixing_choice.is_best

    def prepare(self, beginning: TrainingStart) -> None:
        """Prepare for the steps; called before the first step and before resuming.

        What `models.parameters` holds afterwards is what training changes and checkpoints keep.
        """

    def sentences(self, spec: TrainingSpec, student: ClipModel) -> Sentences:
        """Return what the sentences of each step are drawn from. Raises ModelNotTrainable."""
        return sentences_of(spec.recipe, student)

    def adjust(
        self,
        parameters: Mapping[str, nn.Parameter],
        step: int,
        again: Callable[[], object],
    ) -> None:
        """Change the gradients between the backward pass and step `step`, counted from 0.

        In fp16 the gradients are still multiplied by the loss scale. `again()` adds the gradients
        of the same batch and sentences at the weights as they then are.
        """

    def conclude(self, ending: TrainingEnd) -> Json:
        """Change the weights after the last step; return what was chosen, for the record."""
        match self.recipe.mixing_choice:
            case MixingChoice.NONE:
                return {}
            case MixingChoice.FIXED:
                mix_fixed(ending, self.recipe.mixing)
                return {}
            case MixingChoice.VALIDATION:
                return mix_best(ending)
            case MixingChoice.PER_LAYER:
                return mix_per_layer(ending)
            case MixingChoice.FIT:
                return mix_to_fit(ending)


MakeMethod = Callable[[Recipe, Columns], LearningMethod]


# The projection of steps off the directions that a weight uses most.


class SpectralProjection:
    """Keeps training off the leading singular directions of the weights at its start.

    For each matrix W = U S Vᵀ, U_k and V_k are the fewest leading directions that hold `share`
    of the energy ΣS². A step Δ of W becomes

        Δ ← (I − U_k U_kᵀ) Δ (I − V_k V_kᵀ)

    so that the student still maps the span of V_k to that of U_k as it did at the start. A tensor
    of more than two dimensions is a matrix whose rows are its first dimension; vectors, scalars and
    tensors that are a single row or column train freely. Adam's step leaves the subspace that its
    gradient is in, so the step is projected and not the gradient. Share 0 changes nothing. Source:
    OPLoRA (2510.13003) for the two-sided projection, there of low-rank adapters.
    """

    def __init__(
        self,
        share: float,
        parameters: Mapping[str, nn.Parameter],
        advance: Callable[[int, int], None] = ignore_progress,
    ) -> None:
        """Decompose the matrices; `advance(done, total)` is called after each."""
        matrices = {name: p for name, p in parameters.items() if share and _is_matrix(p)}
        self._parameters = matrices
        self._leading: dict[str, tuple[Tensor, Tensor]] = {}
        for name, parameter in matrices.items():
            self._leading[name] = leading(parameter.detach().flatten(1), share)
            advance(len(self._leading), len(matrices))
        self._before: dict[str, Tensor] = {}

    def begin(self) -> None:
        """Remember the weights before a step."""
        self._before = snapshot(self._parameters)

    @torch.no_grad()
    def end(self) -> None:
        """Project the step taken since `begin`."""
        for name, parameter in self._parameters.items():
            before = self._before[name]
            step = (parameter - before).flatten(1)
            left, right = self._leading[name]
            step = step - left @ (left.T @ step)
            step = step - (step @ right) @ right.T
            parameter.copy_(before + step.view_as(parameter))


def _is_matrix(parameter: Tensor) -> bool:
    return parameter.ndim > 1 and min(parameter.flatten(1).shape) > 1


def leading(matrix: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Return U_k (rows, k) and V_k (columns, k), the fewest directions that hold the share."""
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    energy = values.cpu().double().square().cumsum(dim=0)
    if not energy[-1]:  # a matrix of zeros has no direction
        return left[:, :0], right[:0].T
    count = int((energy < share * energy[-1]).sum()) + 1
    return left[:, :count].contiguous(), right[:count].T.contiguous()
