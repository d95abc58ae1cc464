"""The terms of the methods' losses; with several teachers a term is the mean over them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.domain.recipes.recipe import Recipe
from core.learning import losses
from core.learning.batch_features import Batch, Features
from core.learning.class_columns import Columns
from core.learning.losses import logits


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
