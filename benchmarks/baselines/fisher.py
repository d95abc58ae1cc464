"""How sharply each weight is determined: the diagonal of the Fisher information."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

FLOOR = 1e-3  # of the mean over all elements of both models: no weight counts for less


def fisher(
    log_probabilities: Callable[[Tensor], Tensor],
    parameters: Mapping[str, Tensor],
    groups: Iterable[Tensor],
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """F = mean over images of (∂ ln p(ŷ|x) / ∂θ)², with ŷ drawn from p(·|x) itself.

    `log_probabilities` gives (images, classes) of a group of images. With groups of one image
    the squares are taken image by image. With larger ones the square of a group's summed
    gradient stands for the sum of its squares, at the price of one backward pass a group: for
    ŷ drawn from the model the gradients of different images are independent and of mean 0, so
    the products between them have mean 0, and F's expectation is the same.
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
    """θ = (a F_n θ_n + (1 − a) F_o θ_o) / (a F_n + (1 − a) F_o), element by element.

    `sharpness` is F_n and F_o. Both are at least FLOOR times the mean of all their elements,
    so where neither model's answers depend on a weight it is the plain mean by `share`, a.
    """
    sharp_new, sharp_old = sharpness
    floor = FLOOR * torch.cat([F.flatten() for side in sharpness for F in side.values()]).mean()
    merged = {}
    for name, value in new.items():
        weight_new = share * sharp_new[name].maximum(floor)
        weight_old = (1 - share) * sharp_old[name].maximum(floor)
        merged[name] = old[name].lerp(value, weight_new / (weight_new + weight_old))
    return merged
