"""Rectification-based knowledge retention (RKR): correct and scale each weight."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from benchmarks.baselines.baseline import FineTuning
from core.learning.methods import TrainingStart
from core.learning.mixing import TrainingEnd
from core.learning.vocabulary import generator_of
from core.values import Json

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


RANK = 4


class Rkr(FineTuning):
    """`rkr`: L = L_ce, which trains a rectification (A, B, s) of each linear weight and no more.

        W' = (1 + s) ⊙ (W + A B)

    All other tensors of the trained part, the logit scale included, stay as they are. The update
    publishes W' in place of W, so the next update rectifies the weights of this one. The original
    keeps W and selects each task's rectification by the task's identity. Here an image's session is
    unknown and one model classifies among all classes, as in the code released with VR-LwF.

    That code trains the same A, B and s in all sessions, with dropout on A B, and only in the
    linear layers of the transformer blocks. The original rectifies convolutions too, as this class
    does. Both scale a layer's whole output, where this class leaves the bias unscaled. The default
    rate is ten times that of other methods, as in the released code.

    Source: RKR (Singh et al., Rectification-based Knowledge Retention for Continual Learning,
    2021).
    """

    def prepare(self, beginning: TrainingStart) -> None:
        """Freeze the model, and train rectifications in place of its parameters."""
        network, parameters = beginning.models.student.network, beginning.models.parameters
        frozen = dict(parameters)
        parameters.clear()
        self._rectified = []
        for parameter in frozen.values():
            parameter.requires_grad_(False)
        for name, layer, leaf, transposed in linear_weights(network, frozen):
            generator = generator_of("rectification", name, self.recipe.seed)
            rectification = Rectification(frozen[name], generator, rank=RANK, transposed=transposed)
            parametrize.register_parametrization(layer, leaf, rectification)
            parameters.update(rectification.named_parameters(prefix=name))
            self._rectified.append((layer, leaf))

    def conclude(self, ending: TrainingEnd) -> Json:
        """Replace each weight by its rectified value; return the number of weights."""
        del ending
        for layer, leaf in self._rectified:
            parametrize.remove_parametrizations(layer, leaf, leave_parametrized=True)
        return {"rectified": len(self._rectified)}
