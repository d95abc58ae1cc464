"""Averaged gradient episodic memory (A-GEM)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from benchmarks.baselines.episodic_memory import Memory
from benchmarks.baselines.fine_tuning import FineTuning
from core.domain.values import Json
from core.learning.methods.method import TrainingStart
from core.learning.methods.weight_mixing import TrainingEnd


class AGem(FineTuning):
    """`a_gem`: step along g, the gradient of L_ce, unless it conflicts with the memory's, g_r.

        g ← g − (g·g_r / g_r·g_r) g_r    where g·g_r < 0

    The gradients are those of the trained tensors, before clipping and Adam. g_r is the gradient
    of the memory's loss on `exemplar_batch` image-text pairs of the reference set and as many
    exemplars of earlier updates, drawn anew at every step (see Memory). A first update without a
    reference set has no memory and is plain fine-tuning.

    The projection depends only on the direction of g_r and is linear in g, so projecting a scaled
    fp16 gradient gives the scaled projection. Source: A-GEM (Chaudhry et al., 1812.00420). The
    code released with VR-LwF takes g_r from the current batch, so its memory is never used.
    """

    def prepare(self, beginning: TrainingStart) -> None:
        """Choose the memory. Raises ModelNotTrainable."""
        self._memory = Memory(beginning)
        self._steps = self._projected = 0

    def adjust(self, parameters: Mapping[str, nn.Parameter], step: int) -> None:
        """Project the gradients if they conflict with the memory's gradient."""
        self._steps += 1
        if not self._memory:
            return
        for parameter in parameters.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        reference = torch.autograd.grad(
            self._memory.loss(step), list(parameters.values()), materialize_grads=True
        )
        own = [p.grad for p in parameters.values() if p.grad is not None]
        self._projected += project(own, reference)

    def conclude(self, ending: TrainingEnd) -> Json:
        """Return the memory's size, and the steps and projections since the start or resumption."""
        del ending
        return {
            "remembered": len(self._memory),
            "steps": self._steps,
            "projected": self._projected,
        }


@torch.no_grad()
def project(gradients: Sequence[Tensor], reference: Sequence[Tensor]) -> bool:
    """Remove from g, in place, the component opposed to g_r; return whether there was one."""
    along = _dot(gradients, reference)
    conflict = bool(along < 0)
    if conflict:
        share = along / _dot(reference, reference)
        for own, other in zip(gradients, reference, strict=True):
            own.sub_(share * other)
    return conflict


def _dot(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    pairs = zip(one, other, strict=True)
    return torch.stack([(a * b).sum(dtype=torch.float64) for a, b in pairs]).sum()
