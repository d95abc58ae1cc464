"""The learning methods: each is a list of weighted loss terms."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import torch
from torch import Tensor

from core.domain.recipe import Method, Recipe
from core.learning import losses
from core.learning.columns import Columns


@dataclass(frozen=True, kw_only=True)
class Features:
    """What one model makes of a batch; every row has length one."""

    images: Tensor  # I: (images, width)
    classes: Tensor  # T: (columns, width)
    sentences: Tensor  # P: (sentences, width)
    scale: Tensor  # s: a scalar

    @cached_property
    def class_logits(self) -> Tensor:
        """Z."""
        return losses.logits(self.images, self.classes, self.scale)  # (images, columns)

    @cached_property
    def sentence_logits(self) -> Tensor:
        """V."""
        return losses.logits(self.images, self.sentences, self.scale)  # (images, sentences)


Loss = Callable[[Features, Features, Tensor], Tensor]  # student, teacher, target -> scalar


@dataclass(frozen=True, kw_only=True)
class Term:
    """One term of a method's loss."""

    name: str
    weight: float
    loss: Loss


Terms = tuple[Term, ...]


def total(terms: Mapping[str, Tensor], method: Terms) -> Tensor:
    """L: the weighted sum of a method's terms."""
    return torch.stack([term.weight * terms[term.name] for term in method]).sum()


def ft(recipe: Recipe, columns: Columns) -> Terms:
    """Plain fine-tuning: L_ce over the competing columns."""
    del recipe

    def cross_entropy(student: Features, teacher: Features, target: Tensor) -> Tensor:
        del teacher
        return losses.cross_entropy(student.class_logits[:, : columns.competing], target)

    return (Term(name="ce", weight=1.0, loss=cross_entropy),)


def lwf(recipe: Recipe, columns: Columns) -> Terms:
    """Learning without forgetting: L_ce + α' L_lwf, from the first session on."""
    return (*ft(recipe, columns), _class_distillation(recipe, columns))


def vrlwf(recipe: Recipe, columns: Columns) -> Terms:
    """VR-LwF: L_ce + α L_vr, and α' L_lwf once classes were learned before."""

    def vocabulary(student: Features, teacher: Features, target: Tensor) -> Tensor:
        del target
        return losses.vr_lwf(student.sentence_logits, teacher.sentence_logits, recipe.temperature)

    replay = Term(name="vr", weight=recipe.replay_weight, loss=vocabulary)
    later = (_class_distillation(recipe, columns),) if columns.continues else ()
    return (*ft(recipe, columns), replay, *later)


METHODS: Mapping[Method, Callable[[Recipe, Columns], Terms]] = MappingProxyType(
    {Method.FT: ft, Method.LWF: lwf, Method.VRLWF: vrlwf}
)


def _class_distillation(recipe: Recipe, columns: Columns) -> Term:
    def classes(student: Features, teacher: Features, target: Tensor) -> Tensor:
        seen = torch.tensor(columns.seen, device=target.device)
        return losses.lwf(student.class_logits, teacher.class_logits, seen, recipe.temperature)

    return Term(name="lwf", weight=recipe.lwf_weight, loss=classes)
