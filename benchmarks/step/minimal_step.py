"""The minimal computation of a step of VR-LwF, on bare open_clip modules.

A step runs the student's image tower forward and backward, the teacher's image tower forward (the
crops are new), and the student's text tower forward and backward, separately over class prompts
and replayed sentences, both truncated after the longest; then it takes a fused optimiser step. It
has no clipping, no teacher's sentences and no bookkeeping. With part `image` the text tower is
frozen and runs forward only.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MinimalStep:
    """A student, its teacher and a fused Adam optimiser."""

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
        """Take one step; images are floats, `classes` and `sentences` truncated token ids."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self._bf16):
            seen = self._student.encode_image(images).float()
            with torch.no_grad():
                before = self._teacher.encode_image(images).float()
        with torch.set_grad_enabled(self._text_trains):
            read = torch.cat([self._encode(classes), self._encode(sentences)])
        scores = F.normalize(seen, dim=1) @ F.normalize(read, dim=1).T  # (images, texts)
        loss = F.cross_entropy(scores * self._student.logit_scale.exp(), target)
        loss = loss + F.mse_loss(seen, before)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        self._optimiser.zero_grad()

    def _encode(self, tokens: Tensor) -> Tensor:
        network, length = self._student, tokens.shape[1]
        words = network.token_embedding(tokens) + network.positional_embedding[:length]
        words = network.transformer(words, attn_mask=network.attn_mask[:length, :length])
        ends = words[torch.arange(len(tokens)), tokens.argmax(dim=1)]
        features: Tensor = network.ln_final(ends) @ network.text_projection
        return features
