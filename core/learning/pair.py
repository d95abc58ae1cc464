"""Student and teacher: one model twice, one copy learning and one frozen."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from core.clip.model import ClipModel
from core.domain.recipe import ModelPart, Precision, Recipe
from core.learning.methods import Features
from core.learning.optimisation import trained_parameters


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A student and its frozen teacher, equal at the start.

    Both stay in evaluation mode: dropout is off and BatchNorm keeps its statistics, so the
    distillation starts at zero. In bf16 the image towers of both run under the same autocast,
    for the same reason; text towers, features and losses are fp32.
    """

    student: ClipModel
    teacher: ClipModel
    parameters: dict[str, nn.Parameter]  # those of the student that train
    part: ModelPart
    bf16: bool
    class_tokens: Tensor  # (columns, context length)
    teacher_classes: Tensor  # T': (columns, width)

    @classmethod
    def of(cls, parent: ClipModel, recipe: Recipe, prompts: Sequence[str]) -> Self:
        """Make the parent the student, and its teacher; frozen tensors are shared."""
        parameters = trained_parameters(parent, recipe.part)
        parent.freeze()
        trained = {id(parameter) for parameter in parameters.values()}
        shared = {id(p): p for p in parent.network.parameters() if id(p) not in trained}
        teacher = ClipModel(network=copy.deepcopy(parent.network, shared), config=parent.config)
        for parameter in parameters.values():
            parameter.requires_grad_(True)
        tokens = parent.tokenise(prompts)
        with torch.no_grad():
            classes = teacher.encode_tokens(tokens)
        return cls(
            student=parent,
            teacher=teacher,
            parameters=parameters,
            part=recipe.part,
            bf16=recipe.precision is Precision.BF16,
            class_tokens=tokens,
            teacher_classes=classes,
        )

    def read_sentences(self, tokens: Tensor) -> Tensor:
        """P': the teacher's features of token ids (sentences, context length)."""
        with torch.no_grad():
            return self.teacher.encode_tokens(tokens)

    def student_features(
        self, pixels: Tensor, sentences: Tensor, teacher_sentences: Tensor
    ) -> Features:
        """What the student makes of a batch; a frozen text tower need not be run again."""
        if self.part is ModelPart.IMAGE:
            classes, replayed = self.teacher_classes, teacher_sentences
        else:
            texts = self.student.encode_tokens(torch.cat([self.class_tokens, sentences]))
            columns = len(self.class_tokens)
            classes, replayed = texts[:columns], texts[columns:]
        with torch.set_grad_enabled(self.part is not ModelPart.TEXT):
            images = self._images(self.student, pixels)
        return Features(
            images=images, classes=classes, sentences=replayed, scale=self.student.scale
        )

    @torch.no_grad()
    def teacher_features(
        self, pixels: Tensor, student: Features, teacher_sentences: Tensor
    ) -> Features:
        """What the teacher makes of the same batch; a frozen image tower need not be run again."""
        frozen = self.part is ModelPart.TEXT
        return Features(
            images=student.images if frozen else self._images(self.teacher, pixels),
            classes=self.teacher_classes,
            sentences=teacher_sentences,
            scale=self.teacher.scale,
        )

    def _images(self, model: ClipModel, pixels: Tensor) -> Tensor:
        with torch.autocast(model.device.type, torch.bfloat16, enabled=self.bf16):
            return model.encode_images(pixels)
