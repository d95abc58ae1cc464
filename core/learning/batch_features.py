"""The features that models compute from a batch."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from core.learning import losses


@dataclass(frozen=True, kw_only=True)
class Features:
    """One model's features of a batch; every row is L2-normalised."""

    images: Tensor  # I: (images, width)
    classes: Tensor  # T: (columns, width)
    sentences: Tensor  # P: (sentences, width)
    scale: Tensor  # s: a scalar

    @cached_property
    def class_logits(self) -> Tensor:
        """Z = s I Tᵀ, (images, columns)."""
        return losses.logits(self.images, self.classes, self.scale)

    @cached_property
    def sentence_logits(self) -> Tensor:
        """V = s I Pᵀ, (images, sentences)."""
        return losses.logits(self.images, self.sentences, self.scale)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The input of a loss: the student's and each teacher's features of the same batch."""

    student: Features
    teachers: tuple[Features, ...]  # without gradient
    target: Tensor  # (images,) of column indices
