"""Rectification of a weight: a low-rank correction and a scale of each output (RKR)."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

PROJECTIONS = {"proj", "text_projection"}  # open_clip's bare matrices, which are stored (in, out)


class Rectification(nn.Module):
    """W' = (1 + s) ⊙ (W + A B), a parametrisation of a weight W by A, B and s.

    A (out, rank) and s (out,) start at zero, where W' is W, and B (rank, in) at random with
    variance 1/in. The weight of a convolution is a matrix (out, in · height · width). With
    `transposed` the weight is stored (in, out).
    """

    def __init__(
        self, weight: Tensor, generator: torch.Generator, *, rank: int, transposed: bool = False
    ) -> None:
        super().__init__()
        self.transposed = transposed
        outputs, inputs = self._matrix(weight).shape
        drawn = torch.randn(rank, inputs, generator=generator) / inputs**0.5
        self.A = nn.Parameter(weight.new_zeros(outputs, rank))
        self.B = nn.Parameter(drawn.to(weight))
        self.s = nn.Parameter(weight.new_zeros(outputs))

    def forward(self, weight: Tensor) -> Tensor:
        """Return W', stored as the weight is and computed in its precision."""
        with torch.autocast(weight.device.type, enabled=False):
            matrix = (1 + self.s[:, None]) * (self._matrix(weight) + self.A @ self.B)
        return (matrix.T if self.transposed else matrix).reshape(weight.shape)

    def _matrix(self, weight: Tensor) -> Tensor:
        return weight.T if self.transposed else weight.flatten(1)


def linear_weights(
    network: nn.Module, names: Iterable[str]
) -> Iterator[tuple[str, nn.Module, str, bool]]:
    """Yield the names of linear weights, each with its layer, its name there and `transposed`.

    These are the weights of linear layers, attention, convolutions and projections, but neither
    embeddings nor the weights of normalisations.
    """
    for name in names:
        path, _, leaf = name.rpartition(".")
        layer = network.get_submodule(path)
        is_weight = leaf == "weight" and isinstance(layer, nn.Linear | nn.Conv2d)
        if is_weight or leaf.endswith("proj_weight") or leaf in PROJECTIONS:
            yield name, layer, leaf, leaf in PROJECTIONS
