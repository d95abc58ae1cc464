"""The projection of steps off the directions that a weight uses most."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from core.learning.methods.weight_mixing import snapshot
from core.ports import ignore_progress


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
