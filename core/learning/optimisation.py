"""Which parameters move, by which rule, how fast, and within which bounds."""

import math
from collections.abc import Mapping

import torch
from torch import nn

from core.clip.model import ClipModel
from core.domain.recipe import ModelPart, Optimiser, Recipe, Schedule

LARGEST_LOGIT_SCALE = math.log(100.0)
WARM_UP = 0.05  # share of all steps


def trained_parameters(model: ClipModel, part: ModelPart) -> dict[str, nn.Parameter]:
    """The parameters that a recipe's part moves, by name; the scale is in every part."""
    towers = {ModelPart.WHOLE: (True, False), ModelPart.IMAGE: (True,), ModelPart.TEXT: (False,)}
    return {
        name: parameter
        for name, parameter in model.network.named_parameters()
        if name == "logit_scale"
        or (name != "logit_bias" and name.startswith("visual.") in towers[part])
    }


def make_optimiser(recipe: Recipe, parameters: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
    """Adam or AdamW with betas 0.9 and 0.999; vectors and scalars are not decayed."""
    matrices = [value for value in parameters.values() if value.ndim > 1]
    others = [value for value in parameters.values() if value.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    rule = torch.optim.AdamW if recipe.optimiser is Optimiser.ADAMW else torch.optim.Adam
    return rule([group for group in groups if group["params"]], lr=recipe.learning_rate, fused=True)


def rate_factor(schedule: Schedule, step: int, steps: int) -> float:
    """What the learning rate is multiplied with at a step, counted from 0, of `steps`."""
    match schedule:
        case Schedule.CONSTANT:
            return 1.0
        case Schedule.STEP:
            return 1.0 if step * 3 < steps * 2 else 0.1
        case Schedule.COSINE:
            rising = math.ceil(WARM_UP * steps)
            if step < rising:
                return (step + 1) / rising
            return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def take_step(
    optimiser: torch.optim.Optimizer,
    parameters: Mapping[str, nn.Parameter],
    *,
    rate: float,
    clip_norm: float,
) -> float:
    """One step along gradients of global norm at most `clip_norm`; the norm before clipping.

    The gradients must be the loss's own: with a scaled loss, divide by the scale first, or
    clipping would always bite (the released code does it the other way round).
    """
    norm = nn.utils.clip_grad_norm_(list(parameters.values()), clip_norm)
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.step()
    optimiser.zero_grad()
    return float(norm)


def clamp_scale(model: ClipModel) -> None:
    """Keep s = exp(logit scale) at most 100, as CLIP's own training does."""
    with torch.no_grad():
        model.logit_scale.clamp_(max=LARGEST_LOGIT_SCALE)
