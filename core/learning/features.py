"""What models make of a batch."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from core.learning import losses


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


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What a loss sees: the same images and texts through the student and each teacher."""

    student: Features
    teachers: tuple[Features, ...]  # without gradient
    target: Tensor  # (images,) of column indices
