"""Schedules, clipping and the bound on the scale."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from core.domain.recipe import Optimiser, Recipe, Schedule
from core.learning.optimisation import (
    clamp_scale,
    make_optimiser,
    make_scaler,
    rate_factor,
    take_step,
)
from tests.unit.tiny_clip import tiny_clip


def test_a_constant_rate_stays() -> None:
    assert {rate_factor(Schedule.CONSTANT, step, 30) for step in range(30)} == {1.0}


def test_a_stepped_rate_falls_to_a_tenth_after_two_thirds() -> None:
    factors = [rate_factor(Schedule.STEP, step, 15) for step in range(15)]
    assert factors == [1.0] * 10 + [0.1] * 5


def test_a_cosine_rate_rises_for_a_twentieth_and_falls_to_nearly_nothing() -> None:
    factors = [rate_factor(Schedule.COSINE, step, 100) for step in range(100)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[5:] == sorted(factors[5:], reverse=True)
    assert max(factors) == 1
    assert 0 < factors[-1] < 0.001


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_short_runs_have_rates_above_zero(steps: int) -> None:
    assert all(rate_factor(Schedule.COSINE, step, steps) > 0 for step in range(steps))


CPU = torch.device("cpu")


def step(
    rule: torch.optim.Optimizer,
    parameters: dict[str, nn.Parameter],
    recipe: Recipe,
    factor: float = 1.0,
) -> float:
    """A step of a recipe that is not fp16; the norm that was measured."""
    return take_step(rule, make_scaler(recipe, CPU), parameters, recipe=recipe, factor=factor)


def stepped(gradient: list[float], **changes: Any) -> tuple[torch.Tensor, float]:
    """What plain gradient descent at rate 1 adds, and the norm that was measured."""
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor(gradient)
    rule = torch.optim.SGD([parameter], lr=1.0)
    norm = step(rule, {"p": parameter}, Recipe(learning_rate=1.0, **changes))
    return parameter.detach(), norm


def test_a_short_gradient_is_not_clipped() -> None:
    moved, norm = stepped([0.3, 0.4], clip_norm=1.0)
    assert norm == pytest.approx(0.5)
    torch.testing.assert_close(moved, torch.tensor([-0.3, -0.4]))


def test_a_long_gradient_is_cut_to_the_norm_in_its_direction() -> None:
    moved, norm = stepped([30.0, 40.0], clip_norm=1.0)
    assert norm == pytest.approx(50)
    torch.testing.assert_close(moved, torch.tensor([-0.6, -0.8]), rtol=1e-5, atol=0)


def test_adam_moves_by_the_rate_whatever_the_gradients_size() -> None:
    """As it must: the released code, clipping a scaled gradient, moved by a tenth of that."""
    for size in (1e-4, 1e-2):
        parameter = nn.Parameter(torch.zeros(3))
        parameter.grad = torch.full((3,), size)
        recipe = Recipe(learning_rate=1e-3)
        step(make_optimiser(recipe, {"p": parameter}), {"p": parameter}, recipe)
        torch.testing.assert_close(parameter.detach(), torch.full((3,), -1e-3), rtol=1e-3, atol=0)


def test_a_step_forgets_its_gradient_and_uses_the_rate_given() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    recipe = Recipe(learning_rate=0.5)
    rule = make_optimiser(recipe, {"p": parameter})
    parameter.grad = torch.ones(1)
    step(rule, {"p": parameter}, recipe, factor=0.0)
    assert parameter.item() == 0
    assert parameter.grad is None


def test_vectors_and_scalars_are_not_decayed() -> None:
    parameters = {"matrix": nn.Parameter(torch.ones(2, 2)), "scale": nn.Parameter(torch.ones([]))}
    for parameter in parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    recipe = Recipe(optimiser=Optimiser.ADAMW, weight_decay=0.5, learning_rate=0.1)
    step(make_optimiser(recipe, parameters), parameters, recipe)
    torch.testing.assert_close(parameters["matrix"].detach(), torch.full((2, 2), 0.95))
    assert parameters["scale"].item() == 1


def test_the_scale_never_exceeds_a_hundred() -> None:
    model = tiny_clip()
    model.logit_scale.data.fill_(6.0)
    clamp_scale(model)
    assert model.scale.item() == pytest.approx(100, rel=1e-5)
    model.logit_scale.data.fill_(1.0)
    clamp_scale(model)
    assert model.scale.item() == pytest.approx(math.e)
