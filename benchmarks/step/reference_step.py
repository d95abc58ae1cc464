"""A reference implementation of VR-LwF's step, written plainly from the published method.

It uses no part of `core.learning`, so that the two can be compared. Every sentence is encoded at
the tower's full context length, class prompts and replayed sentences are encoded again at every
step, both models encode the images, and Adam updates the tensors one by one. The teacher encodes
the class prompts once. The published trainer also requests every block's attention weights, which
rules out fused attention: `ask_for_attention_weights` changes a network to do so.
"""

from collections.abc import Mapping
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn


def ask_for_attention_weights(network: nn.Module) -> None:
    """Make every block compute its attention weights, though nothing uses them."""

    def attention(block: Any, q_x: Tensor, attn_mask: Tensor | None = None, **_: Any) -> Tensor:
        attended: Tensor = block.attn(q_x, q_x, q_x, need_weights=True, attn_mask=attn_mask)[0]
        return attended

    for block in network.modules():
        if isinstance(block, ResidualAttentionBlock):
            block.attention = MethodType(attention, block)


class ReferenceStep:
    """Student, teacher and optimiser; `gradients` and `move` are the two halves of a step."""

    def __init__(
        self,
        *,
        student: Any,
        teacher: Any,
        trained: Mapping[str, nn.Parameter],
        classes: Tensor,
        alpha: float,
        rate: float,
        clip_norm: float,
    ) -> None:
        """Encode the class prompts with the teacher and make the optimiser.

        `classes` are token ids (classes, context); `trained` are the student's trained parameters
        by name.
        """
        self._student, self._teacher = student, teacher
        self.trained = trained
        self._classes = classes
        self._alpha = alpha
        self._clip_norm = clip_norm
        self._optimiser = torch.optim.Adam(
            trained.values(), lr=rate, betas=(0.9, 0.999), eps=1e-8, foreach=False, fused=False
        )
        with torch.no_grad():
            self._teacher_classes = F.normalize(teacher.encode_text(classes), dim=1)  # T'

    def gradients(self, images: Tensor, target: Tensor, sentences: Tensor) -> dict[str, float]:
        """Compute a batch's gradients in place; return the loss and its terms.

        `images` are normalised floats (images, 3, height, width), `sentences` token ids (M,
        context).
        """
        with torch.no_grad():
            seen = F.normalize(self._teacher.encode_image(images), dim=1)  # I'
            read = F.normalize(self._teacher.encode_text(sentences), dim=1)  # P'
            wanted = self._teacher.logit_scale.exp() * seen @ read.T  # V' (images, sentences)
        rows = F.normalize(self._student.encode_image(images), dim=1)  # I
        T = F.normalize(self._student.encode_text(self._classes), dim=1)
        P = F.normalize(self._student.encode_text(sentences), dim=1)
        s = self._student.logit_scale.exp()
        ce = F.cross_entropy(s * rows @ T.T, target)
        p = F.log_softmax(s * rows @ P.T, dim=1)
        vr = F.kl_div(p, F.softmax(wanted, dim=1), reduction="sum") / len(images)
        loss = ce + self._alpha * vr
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        return {"loss": loss.item(), "ce": ce.item(), "vr": vr.item()}

    def move(self) -> None:
        """Clip the gradients and take the optimiser's step."""
        nn.utils.clip_grad_norm_(self.trained.values(), self._clip_norm, foreach=False)
        self._optimiser.step()
