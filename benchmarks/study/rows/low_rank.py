"""Low-rank steps of the weights, in directions that they hardly use.

Each update starts from a parent that has the earlier steps in its weights, and publishes W + ΔW in
place of W, so a version stays a plain CLIP.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from benchmarks.baselines.rectification import linear_weights
from core.clip.model import ClipModel
from core.datasets.manifests import ManifestEntry
from core.learning import losses
from core.learning.data import TrainingImages
from core.learning.methods import LearningMethod, TrainingStart, leading
from core.learning.mixing import TrainingEnd
from core.learning.vocabulary import Columns, generator_of
from core.recipes.rules import Recipe
from core.values import Json

IMAGES = 1000  # at most, of each of the two measurements before the first step
GROUP = 100  # images at a time


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A weight that is one matrix or several: W_q, W_k and W_v of attention are stacked."""

    name: str
    layer: nn.Module
    leaf: str  # the tensor's name in its layer
    stacked: int  # matrices (out, in) in the tensor, as rows; a kernel's inputs are flattened


class Steps(nn.Module):
    """W' = W + ΔW with ΔW = L M R of each stacked matrix, a parametrisation of W by M.

    L (out, rows) and R (columns, in) are fixed, M starts at zero; an L of None is the identity.
    """

    def __init__(self, sides: Sequence[tuple[Tensor | None, Tensor]], outputs: int) -> None:
        super().__init__()
        self._left = [left for left, _ in sides]
        self._right = [right for _, right in sides]
        self.M = nn.ParameterList(
            torch.zeros(outputs if left is None else left.shape[1], len(right)).to(right)
            for left, right in sides
        )

    def forward(self, weight: Tensor) -> Tensor:
        """Return W', computed in the weight's own precision."""
        with torch.autocast(weight.device.type, enabled=False):
            parts = zip(self._left, self.M, self._right, strict=True)
            steps = [M @ right if left is None else left @ M @ right for left, M, right in parts]
            return weight + torch.cat(steps).view_as(weight)


class LowRank(LearningMethod):
    """Trains only the steps of weights that are matrices; the recipe decides the loss.

    Those are the weights of linear layers, of attention, and of convolutions that are not grouped.
    All else stays as it is: embeddings, norms, biases, the projections of open_clip's own towers,
    and the logit scale.
    """

    def __init__(self, recipe: Recipe, columns: Columns, *, rank: int) -> None:
        super().__init__(recipe, columns)
        self._rank = rank

    def prepare(self, beginning: TrainingStart) -> None:
        """Freeze the model, and train steps in place of its parameters."""
        network, parameters = beginning.models.student.network, beginning.models.parameters
        self._weights = list(matrix_weights(network, parameters))
        made = {w.name: self.sides(w, beginning) for w in self._weights}
        for parameter in parameters.values():
            parameter.requires_grad_(False)
        tensors = dict(parameters)
        parameters.clear()
        for weight in self._weights:
            outputs = len(tensors[weight.name]) // weight.stacked
            steps = Steps(made[weight.name], outputs)
            parametrize.register_parametrization(weight.layer, weight.leaf, steps)
            parameters.update(steps.named_parameters(prefix=weight.name))

    def sides(self, weight: Weight, beginning: TrainingStart) -> list[tuple[Tensor | None, Tensor]]:
        """Return L, if any, and R of each matrix of a weight."""
        raise NotImplementedError

    def conclude(self, ending: TrainingEnd) -> Json:
        """Replace each weight by W'; return the number of trained values."""
        for weight in self._weights:
            parametrize.remove_parametrizations(weight.layer, weight.leaf, leave_parametrized=True)
        return {"low_rank": sum(M.numel() for M in ending.parameters.values())}


def matrix_weights(network: nn.Module, trained: Iterable[str]) -> Iterator[Weight]:
    """Yield the weights that are matrices (out, in), of the trained tensors."""
    for name, layer, leaf, transposed in linear_weights(network, trained):
        grouped = isinstance(layer, nn.Conv2d) and layer.groups > 1
        if not (transposed or grouped):
            stacked = 3 if leaf == "in_proj_weight" else 1
            yield Weight(name=name, layer=layer, leaf=leaf, stacked=stacked)


def matrices(weight: Weight) -> Sequence[Tensor]:
    """Return the stacked matrices (out, in) of a weight, detached."""
    tensor: Tensor = getattr(weight.layer, weight.leaf)
    return tensor.detach().flatten(1).chunk(weight.stacked)


class NullSpaceLora(LowRank):
    """`null_space_lora`: steps between the directions that a weight uses least.

        W = U S Vᵀ        ΔW = U_r M V_rᵀ

    U_r and V_r are the last `rank` singular directions of the parent's weight, on either side, at
    most half of all; M (rank, rank) is trained. So the span of the other directions is mapped as
    before.

    Source: NuSA-CL (Jo and Kim, 2510.21175): low-rank steps within an approximate null space of the
    current weights, which are decomposed anew before each task and into which the steps are merged.
    Only its summary was at hand. Chosen here: the number of directions, which it takes from the
    spectrum; M between them instead of a product of two factors; which weights have steps.
    """

    def sides(self, weight: Weight, beginning: TrainingStart) -> list[tuple[Tensor | None, Tensor]]:
        """Return U_r and V_rᵀ."""
        del beginning
        found: list[tuple[Tensor | None, Tensor]] = []
        for matrix in matrices(weight):
            left, values, right = torch.linalg.svd(matrix, full_matrices=False)
            count = min(self._rank, len(values) // 2)
            found.append((left[:, -count:].contiguous(), right[-count:].contiguous()))
        return found


class KeepLora(LowRank):
    """`keeplora`: low-rank steps off the principal inputs of the weights and off earlier features.

        P = [V_k, E]        G' = G (I − P Pᵀ) = U S Aᵀ        ΔW = B A_rᵀ

    V_k are the fewest leading input directions of the parent's weight that hold `kept_energy` of
    its energy. E are directions of the layer's inputs on what earlier updates have taught, off V_k:
    the fewest that leave at least `kept_features` of the inputs' energy in the span of P. G is the
    gradient of the cross entropy at the start, and A_r the first `rank` input directions of what P
    leaves of it. Only B is trained, from zero, so every step is orthogonal to P.

    Source: KeepLoRA (Luo et al., 2601.19659) and its released code for CLIP: rank 16, energies 0.99
    and, for features of images, 0.85. Chosen here: all weights that are matrices, as in its code
    for larger models, where that for CLIP has attention alone, which some towers lack; 0.85 for
    texts too, where the code has 0.2; E is measured on images of earlier classes and their prompts
    with the parent, where the code stores the directions after each task; the plain classifier of
    prompts, without the code's further one; at most 1,000 images for either measurement. The code's
    factor α/r on the step is left out: with Adam it scales the rate.
    """

    def __init__(
        self,
        recipe: Recipe,
        columns: Columns,
        *,
        rank: int,
        kept_energy: float,
        kept_features: float,
    ) -> None:
        super().__init__(recipe, columns, rank=rank)
        self._energy, self._share = kept_energy, kept_features

    def prepare(self, beginning: TrainingStart) -> None:
        """Measure gradients and earlier features, and train steps off what is kept."""
        network, parameters = beginning.models.student.network, beginning.models.parameters
        names = {weight.name for weight in matrix_weights(network, parameters)}
        chosen = {name: parameters[name] for name in names}
        self._gradients = _gradients(beginning, self.columns, chosen)
        self._inputs = _earlier_inputs(beginning)
        super().prepare(beginning)
        self._gradients, self._inputs = {}, {}

    def sides(self, weight: Weight, beginning: TrainingStart) -> list[tuple[Tensor | None, Tensor]]:
        """Return A_rᵀ of each matrix."""
        del beginning
        gradients = self._gradients[weight.name].flatten(1).chunk(weight.stacked)
        found: list[tuple[Tensor | None, Tensor]] = []
        for matrix, gradient in zip(matrices(weight), gradients, strict=True):
            kept = leading(matrix, self._energy)[1]
            if weight.name in self._inputs:
                kept = with_features(kept, self._inputs[weight.name], self._share)
            found.append((None, residual_inputs(gradient, kept, self._rank)))
        return found


def residual_inputs(gradient: Tensor, kept: Tensor, rank: int) -> Tensor:
    """Return up to `rank` leading input directions (rank, in) of a gradient (out, in) off `kept`.

    `kept` has orthonormal columns (in, kept).
    """
    rest = complement(kept)
    directions = torch.linalg.svd(gradient @ rest, full_matrices=False)[2]
    found: Tensor = directions[:rank] @ rest.T
    return found


def with_features(kept: Tensor, inputs: Tensor, share: float) -> Tensor:
    """Return `kept` with the fewest directions of the inputs that make up for a share of them.

    `inputs` is the sum of x xᵀ (in, in). Source: gradient projection memory (Saha et al.,
    2103.09762), its criterion for later tasks.
    """
    rest = complement(kept)
    values, vectors = torch.linalg.eigh(rest.T @ inputs @ rest)  # ascending
    total = inputs.trace()
    held = total - values.sum() + torch.cat([values.new_zeros(1), values.flip(0).cumsum(0)])
    count = min(int((held < share * total).sum()), len(values))
    return torch.cat([kept, rest @ vectors.flip(1)[:, :count]], dim=1)


def complement(kept: Tensor) -> Tensor:
    """Return an orthonormal basis (in, in − kept) of what is orthogonal to some columns."""
    whole: Tensor = torch.linalg.qr(kept, mode="complete")[0]
    return whole[:, kept.shape[1] :]


# The measurements of the parent before the first step.


def _gradients(
    beginning: TrainingStart, columns: Columns, parameters: Mapping[str, nn.Parameter]
) -> dict[str, Tensor]:
    """Return the mean gradient of the cross entropy on the update's images, uncropped, in fp32."""
    student, spec = beginning.models.student, beginning.spec
    competing = columns.names[: columns.competing]
    prompts = student.tokenise(spec.prompt.fill_all(competing))
    sums = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    count = 0
    for entries, pixels in _read(beginning, spec.images):
        images, texts = student.encode_images(pixels), student.encode_tokens(prompts)
        target = columns.targets([entry.class_name for entry in entries]).to(pixels.device)
        loss = losses.cross_entropy(losses.logits(images, texts, student.scale), target)
        found = torch.autograd.grad(
            loss * len(entries), list(parameters.values()), materialize_grads=True
        )
        for total, gradient in zip(sums.values(), found, strict=True):
            total.add_(gradient)
        count += len(entries)
    return {name: total / count for name, total in sums.items()}


@torch.no_grad()
def _earlier_inputs(beginning: TrainingStart) -> dict[str, Tensor]:
    """Return the sum of x xᵀ over the inputs of each weight, on what was learned before.

    Those are images of the earlier classes, and prompts of these classes; none in a first update.
    """
    student, spec = beginning.models.student, beginning.spec
    learned = {name.lower() for name in spec.learned}
    entries = [entry for entry in spec.exemplars if entry.class_name.lower() in learned]
    with watched(student) as sums:
        for _, pixels in _read(beginning, entries):
            student.encode_images(pixels)
        if learned:
            student.encode_tokens(student.tokenise(spec.prompt.fill_all(spec.learned)))
    return sums


@contextmanager
def watched(model: ClipModel) -> Iterator[dict[str, Tensor]]:
    """Sum x xᵀ over the inputs of each weight while a model encodes."""
    sums: dict[str, Tensor] = {}
    hooks = []
    for path, layer in model.network.named_modules():
        if isinstance(layer, nn.MultiheadAttention):
            watch = _of_attention(path, sums)
            hooks.append(layer.register_forward_hook(watch, with_kwargs=True))
        elif isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1):
            hooks.append(layer.register_forward_hook(_of_layer(f"{path}.weight", sums)))
    try:
        yield sums
    finally:
        for hook in hooks:
            hook.remove()


def _add(name: str, inputs: Tensor, sums: dict[str, Tensor]) -> None:
    rows = inputs.flatten(0, -2).float()
    sums[name] = sums.get(name, 0) + rows.T @ rows


def _of_layer(name: str, sums: dict[str, Tensor]) -> Any:
    def hook(layer: Any, args: Any, _: Any) -> None:
        (inputs,) = args
        if isinstance(layer, nn.Conv2d):  # what each place of its output reads
            sizes: Any = (layer.kernel_size, layer.dilation, layer.padding, layer.stride)
            inputs = F.unfold(inputs, *sizes).transpose(1, 2)
        _add(name, inputs, sums)

    return hook


def _of_attention(path: str, sums: dict[str, Tensor]) -> Any:
    def hook(layer: nn.MultiheadAttention, args: Any, kwargs: Any, _: Any) -> None:
        query = kwargs["query"] if "query" in kwargs else args[0]
        _add(f"{path}.in_proj_weight", query, sums)
        own = layer.out_proj.weight.data, layer.out_proj.bias.data
        # Without its output projection, the layer returns what that projection reads.
        layer.out_proj.weight.data = torch.eye(len(own[0])).to(own[0])
        layer.out_proj.bias.data = torch.zeros_like(own[1])
        try:
            _add(f"{path}.out_proj.weight", layer.forward(*args, **kwargs)[0], sums)
        finally:
            layer.out_proj.weight.data, layer.out_proj.bias.data = own

    return hook


def _read(
    beginning: TrainingStart, entries: Sequence[ManifestEntry]
) -> Iterator[tuple[Sequence[ManifestEntry], Tensor]]:
    """Yield at most IMAGES of some entries in groups, with their uint8 pixels."""
    student, seed = beginning.models.student, beginning.spec.recipe.seed
    order = torch.randperm(len(entries), generator=generator_of("measured images", seed))
    chosen = [entries[place] for place in order[:IMAGES].tolist()]
    images = TrainingImages(
        chosen, beginning.artifacts, student.preprocess, seed=seed, augment=False, cache_bytes=0
    )
    for start in range(0, len(chosen), GROUP):
        group = chosen[start : start + GROUP]
        pixels = images.batch([(start + place, 0) for place in range(len(group))])
        yield group, pixels.to(student.device)
