"""The least that a step of VR-LwF must compute, on bare open_clip modules.

The student's image tower forward and backward, the teacher's image tower forward (the crops are
fresh), the student's text tower forward and backward over sentences cut where the longest ends,
class prompts and replayed sentences apart; then a fused optimiser step. No clipping, no teacher's
sentences, no bookkeeping. Under part `image` the texts are read by a frozen tower, forward alone.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FloorStep:
    """A student, its teacher and a fused Adam."""

    def __init__(
        self,
        *,
        student: Any,
        teacher: Any,
        trained: Sequence[nn.Parameter],
        text_trains: bool,
        bf16: bool,
        rate: float,
    ) -> None:
        self._student, self._teacher = student, teacher
        self._text_trains = text_trains
        self._bf16 = bf16
        self._optimiser = torch.optim.Adam(trained, lr=rate, fused=True)

    def take(self, images: Tensor, target: Tensor, classes: Tensor, sentences: Tensor) -> None:
        """One step; images are floats, `classes` and `sentences` token ids cut to their length."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self._bf16):
            seen = self._student.encode_image(images).float()
            with torch.no_grad():
                before = self._teacher.encode_image(images).float()
        with torch.set_grad_enabled(self._text_trains):
            read = torch.cat([self._read(classes), self._read(sentences)])
        scores = F.normalize(seen, dim=1) @ F.normalize(read, dim=1).T  # (images, texts)
        loss = F.cross_entropy(scores * self._student.logit_scale.exp(), target)
        loss = loss + F.mse_loss(seen, before)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        self._optimiser.zero_grad()

    def _read(self, tokens: Tensor) -> Tensor:
        network, length = self._student, tokens.shape[1]
        words = network.token_embedding(tokens) + network.positional_embedding[:length]
        words = network.transformer(words, attn_mask=network.attn_mask[:length, :length])
        ends = words[torch.arange(len(tokens)), tokens.argmax(dim=1)]
        features: Tensor = network.ln_final(ends) @ network.text_projection
        return features
