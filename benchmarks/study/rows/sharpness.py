"""Sharpness-aware steps."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from core.learning.methods import LearningMethod
from core.learning.mixing import snapshot
from core.learning.optimisation import TINY
from core.learning.vocabulary import Columns
from core.recipes.rules import Recipe


class SharpnessAware(LearningMethod):
    """`sam`: step along the gradient at the worst point near the weights, for any recipe.

        e = ρ g(w) / ‖g(w)‖        w ← w − η g(w + e)

    Both gradients are of the same batch, crops and sentences, and of the whole loss, distillation
    included. The norm is over all trained tensors, and ρ is `radius`. Clipping and Adam come after,
    as for any gradient. A step costs two passes.

    Source: SAM (Foret et al., 2010.01412), equations 2 and 3, and algorithm 1.
    """

    def __init__(self, recipe: Recipe, columns: Columns, *, radius: float) -> None:
        super().__init__(recipe, columns)
        self._radius = radius

    def adjust(
        self, parameters: Mapping[str, nn.Parameter], step: int, again: Callable[[], object]
    ) -> None:
        """Replace the gradients by those at w + e."""
        del step
        before = snapshot(parameters)
        climb(list(parameters.values()), self._radius)
        again()
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(before[name])


@torch.no_grad()
def climb(parameters: Sequence[nn.Parameter], radius: float) -> None:
    """Add e to the parameters, and clear their gradients."""
    gradients: list[Tensor] = [p.grad for p in parameters if p.grad is not None]
    length = nn.utils.get_total_norm(gradients).clamp(min=TINY)
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.add_(parameter.grad * (radius / length))
            parameter.grad = None
