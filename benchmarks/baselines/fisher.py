"""The diagonal of the Fisher information, and a mean of weights in proportion to it."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

FLOOR = 1e-3  # lower bound of F, as a share of its mean over all elements of both models


def fisher(
    log_probabilities: Callable[[Tensor], Tensor],
    parameters: Mapping[str, Tensor],
    groups: Iterable[Tensor],
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Return F = mean over images of (∂ ln p(ŷ|x) / ∂θ)², with ŷ drawn from p(·|x).

    `log_probabilities` returns (images, classes) for a group of images. With groups of one image
    this is exact for the drawn ŷ. With larger groups, the square of a group's summed gradient
    replaces the sum of squares, for one backward pass per group: as ŷ is drawn from the model,
    gradients of different images are independent with mean 0, so their products have mean 0 and
    F's expectation is the same.
    """
    sums = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    images = 0
    for group in groups:
        scores = log_probabilities(group)
        drawn = torch.multinomial(scores.detach().exp().cpu(), 1, generator=generator)
        likelihood = scores.gather(1, drawn.to(scores.device)).sum()
        gradients = torch.autograd.grad(
            likelihood, list(parameters.values()), materialize_grads=True
        )
        for total, gradient in zip(sums.values(), gradients, strict=True):
            total.addcmul_(gradient, gradient)
        images += len(group)
    return {name: total / images for name, total in sums.items()}


def merge(
    new: Mapping[str, Tensor],
    old: Mapping[str, Tensor],
    sharpness: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
    share: float,
) -> dict[str, Tensor]:
    """Return θ = (a F_n θ_n + (1 − a) F_o θ_o) / (a F_n + (1 − a) F_o), element by element.

    `share` is a, `sharpness` is F_n and F_o. Both are at least FLOOR times the mean of all their
    elements, so a weight on which neither model's output depends is the plain weighted mean.
    """
    sharp_new, sharp_old = sharpness
    floor = FLOOR * torch.cat([F.flatten() for side in sharpness for F in side.values()]).mean()
    merged = {}
    for name, value in new.items():
        weight_new = share * sharp_new[name].maximum(floor)
        weight_old = (1 - share) * sharp_old[name].maximum(floor)
        merged[name] = old[name].lerp(value, weight_new / (weight_new + weight_old))
    return merged
