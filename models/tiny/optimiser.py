"""The optimisers: Muon (orthogonalised momentum) for matrices inside the towers, AdamW for others.

Muon: K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from models.tiny.recipe import Recipe

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonal(update: Tensor) -> Tensor:
    """Take five Newton-Schulz steps towards the nearest semi-orthogonal matrix."""
    a, b, c = COEFFICIENTS
    wide = (update if update.shape[0] <= update.shape[1] else update.T).bfloat16()
    x = wide / (wide.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    turned: Tensor = x if update.shape[0] <= update.shape[1] else x.T
    return turned.to(update.dtype)


class Muon(Optimizer):
    """Momentum whose steps are made orthogonal, for matrices and one-by-one convolutions."""

    def __init__(self, params: Iterable[Tensor], *, lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": 0.95})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient."""
        del closure
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)

    def _move(self, parameter: Tensor, group: dict[str, Any]) -> None:
        gradient = parameter.grad
        assert gradient is not None
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"]
        momentum.lerp_(gradient, 1 - group["momentum"])
        ahead = gradient.lerp(momentum, group["momentum"])
        flat = ahead.reshape(ahead.shape[0], -1)
        scale = max(1.0, flat.shape[0] / flat.shape[1]) ** 0.5
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(orthogonal(flat).view_as(parameter), alpha=-group["lr"] * scale)


def is_matrix(name: str, parameter: Tensor) -> bool:
    """Return whether a parameter is a matrix inside a tower: no embedding, projection or filter."""
    inside = "trunk.stages" in name or "resblocks" in name
    wide = parameter.ndim == 2 or (parameter.ndim == 4 and parameter.shape[2] == 1)
    return inside and wide and min(parameter.shape[:2]) > 1


def optimisers(model: nn.Module, recipe: Recipe) -> list[Optimizer]:
    """Return AdamW and, unless its learning rate is 0, Muon.

    Each parameter group keeps its full learning rate as `base`.
    """
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    matrices = [p for n, p in named if recipe.matrix_learning_rate and is_matrix(n, p)]
    taken = {id(p) for p in matrices}
    rest = [p for _, p in named if id(p) not in taken]
    decayed, free = [p for p in rest if p.ndim > 1], [p for p in rest if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    made: list[Optimizer] = [
        AdamW(groups, lr=recipe.learning_rate, betas=recipe.betas, eps=1e-8, fused=True)
    ]
    if matrices:
        made.append(
            Muon(matrices, lr=recipe.matrix_learning_rate, weight_decay=recipe.weight_decay)
        )
    for optimiser in made:
        for group in optimiser.param_groups:
            group["base"] = group["lr"]
    return made
