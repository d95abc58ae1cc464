"""Trained parameters, optimiser, learning rate schedule and the optimiser's step."""

import math
from collections.abc import Iterator, Mapping
from functools import cache
from inspect import unwrap

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from core.clip.model import ClipModel
from core.recipes.fields import ModelPart, Optimiser, Precision, Schedule
from core.recipes.rules import Recipe
from core.registry.image_tops import is_below_top

LARGEST_LOGIT_SCALE = math.log(100.0)
WARM_UP = 0.05  # share of all steps
TINY = 1e-30  # avoids a division by zero: a gradient of norm 0 stays 0


def trained_parameters(model: ClipModel, part: ModelPart) -> dict[str, nn.Parameter]:
    """Return the parameters that a recipe's part trains, by name; all parts train the logit scale.

    No part trains the logit bias, or BatchNorm's weight and bias: its statistics are fixed, so the
    whole layer is frozen, as when open_clip freezes it. No softmax depends on the logit bias; for
    captions, it would follow the share of pairs that fit, which is one in as many as the batch has:
    far more than in the 32,768 pairs that SigLIP was trained with at a time.
    """
    frozen = {"logit_bias", *_batch_norm(model.network)}
    return {
        name: parameter
        for name, parameter in model.network.named_parameters()
        if name == "logit_scale" or (name not in frozen and _is_in(part, name))
    }


def _is_in(part: ModelPart, name: str) -> bool:
    of_images = name.startswith("visual.")
    match part:
        case ModelPart.WHOLE:
            return True
        case ModelPart.IMAGE:
            return of_images
        case ModelPart.TEXT:
            return not of_images
        case ModelPart.TOP:
            return not is_below_top(name)


def _batch_norm(network: nn.Module) -> Iterator[str]:
    """Yield the names of the parameters of all BatchNorm layers."""
    for layer, module in network.named_modules():
        if isinstance(module, _BatchNorm):
            yield from (f"{layer}.{name}" for name, _ in module.named_parameters())


def make_optimiser(recipe: Recipe, parameters: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
    """Return Adam or AdamW with betas 0.9 and 0.999, without decay of vectors and scalars."""
    matrices = [value for value in parameters.values() if value.ndim > 1]
    others = [value for value in parameters.values() if value.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    rule = torch.optim.AdamW if recipe.optimiser is Optimiser.ADAMW else torch.optim.Adam
    return _uncompiled(rule)(
        [group for group in groups if group["params"]],
        lr=recipe.learning_rate,
        eps=recipe.epsilon,
        fused=True,
    )


@cache
def _uncompiled(rule: type[torch.optim.Adam]) -> type[torch.optim.Adam]:
    """Return an optimiser whose methods never import torch's compiler, which would take seconds.

    torch wraps these methods only to keep the compiler out of them, and, for `step`, gradients.
    """
    kept_out = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")
    methods = {name: unwrap(getattr(rule, name)) for name in kept_out}
    step = torch.no_grad()(unwrap(rule.step))
    return type(rule.__name__, (rule,), {**methods, "step": step})


def rate_factor(schedule: Schedule, step: int, steps: int) -> float:
    """Return the factor on the learning rate at step `step`, counted from 0, of `steps`."""
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


def make_scaler(recipe: Recipe, device: torch.device) -> torch.amp.GradScaler:
    """Return a scaler that keeps fp16 gradients from underflow; disabled in other precisions."""
    return torch.amp.GradScaler(
        device.type, init_scale=2.0**16, enabled=recipe.precision is Precision.FP16
    )


def take_step(
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    parameters: Mapping[str, nn.Parameter],
    *,
    recipe: Recipe,
    factor: float,
) -> float:
    """Clip the gradients to global norm `clip_norm`, step, and return the norm before clipping.

    Gradients are divided by the loss scale first; the released code clips the scaled gradients,
    so that its clipping always takes effect. With `unit_gradient` the gradients are scaled to
    norm `clip_norm` even if they are shorter. A scaler that finds a non-finite gradient skips
    the step and lowers its scale.
    """
    scaler.unscale_(optimiser)
    gradients = [p.grad for p in parameters.values() if p.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    most = norm if recipe.unit_gradient else norm.clamp(min=recipe.clip_norm)
    torch._foreach_mul_(gradients, recipe.clip_norm / most.clamp(min=TINY))
    for group in optimiser.param_groups:
        group["lr"] = recipe.learning_rate * factor
    scaler.step(optimiser)
    scaler.update()
    optimiser.zero_grad()
    return float(norm)


def clamp_scale(model: ClipModel) -> None:
    """Keep s = exp(logit scale) at most 100, as CLIP's own training does.

    That of a model with a logit bias has no limit, as in SigLIP's training: the bias fits to it.
    """
    if model.bias is not None:
        return
    with torch.no_grad():
        model.logit_scale.clamp_(max=LARGEST_LOGIT_SCALE)
