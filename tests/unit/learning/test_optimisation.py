"""Schedules, clipping and the bound on the scale."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from core.learning.optimisation import make_optimiser, make_scaler, rate_factor, take_step
from core.recipes.fields import Optimiser, Precision, Schedule
from core.recipes.rules import Recipe


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


@pytest.mark.parametrize(("precision", "scale"), [(Precision.FP32, 1.0), (Precision.FP16, 2.0**16)])
@pytest.mark.parametrize(
    ("gradient", "expected"), [([0.3, 0.4], [-0.3, -0.4]), ([30.0, 40.0], [-0.6, -0.8])]
)
def test_only_a_long_gradient_is_cut_to_the_norm_in_its_direction_and_unscaled_before(
    gradient: list[float], expected: list[float], precision: Precision, scale: float
) -> None:
    recipe, parameter = Recipe(precision=precision, clip_norm=1.0), nn.Parameter(torch.zeros(2))
    rule, scaler = torch.optim.SGD([parameter], lr=recipe.learning_rate), make_scaler(recipe, CPU)
    scaler.scale((parameter * torch.tensor(gradient)).sum()).backward()
    assert parameter.grad is not None
    assert parameter.grad.tolist() == pytest.approx([scale * value for value in gradient])
    norm = take_step(rule, scaler, {"p": parameter}, recipe=recipe, factor=1.0)
    assert norm == pytest.approx(math.hypot(*gradient))
    moved = parameter.detach() / recipe.learning_rate
    torch.testing.assert_close(moved, torch.tensor(expected), rtol=1e-5, atol=0)


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


LOSS_SCALE = 2.0**16


@pytest.mark.parametrize("size", [1e-3, 1.0, 40.0])
def test_the_released_recipe_takes_the_steps_of_the_released_code(size: float) -> None:
    """That code clips while gradients are still multiplied by the loss scale S.

    What reaches Adam then has norm 1 / S, if it was longer than that before. Adam divides it by
    its own size plus ε: multiplied by S, that is a gradient of norm 1 and an ε of S · 1e-8. The
    learning rate is the same. Only a guard against division by zero in the clipping, 1e-6 beside
    a norm in the hundreds, tells the two apart.
    """
    generator = torch.Generator().manual_seed(0)
    start = {
        name: torch.randn(*shape, generator=generator, dtype=torch.float64)
        for name, shape in {"matrix": (5, 4), "vector": (7,)}.items()
    }
    released = {name: nn.Parameter(value.clone()) for name, value in start.items()}
    ours = {name: nn.Parameter(value.clone()) for name, value in start.items()}
    recipe = Recipe.from_json({"preset": "released", "learning_rate": 1e-3})
    adam = torch.optim.Adam(released.values(), lr=1e-3, eps=1e-8)
    rule = make_optimiser(recipe, ours)
    for _ in range(20):
        for name, value in start.items():
            gradient = size * torch.randn(value.shape, generator=generator, dtype=torch.float64)
            released[name].grad = gradient * LOSS_SCALE
            ours[name].grad = gradient.clone()
        nn.utils.clip_grad_norm_(released.values(), 1.0)
        for parameter in released.values():
            assert parameter.grad is not None
            parameter.grad /= LOSS_SCALE
        adam.step()
        step(rule, ours, recipe)
    for name, value in start.items():
        moved = (released[name] - value).detach()
        assert moved.abs().min() > 1e-6
        torch.testing.assert_close((ours[name] - value).detach(), moved, rtol=1e-6, atol=0)


@pytest.mark.parametrize("gradient", [[3e-9, 4e-9], [0.3, 0.4], [30.0, 40.0]])
def test_a_unit_gradient_has_the_norm_whatever_it_had(gradient: list[float]) -> None:
    moved, norm = stepped(gradient, clip_norm=2.0, unit_gradient=True)
    assert norm == pytest.approx(math.hypot(*gradient))
    torch.testing.assert_close(moved, torch.tensor([-1.2, -1.6]), rtol=1e-5, atol=0)


def test_no_gradient_at_all_moves_nothing() -> None:
    moved, norm = stepped([0.0, 0.0], unit_gradient=True)
    assert (moved.tolist(), norm) == ([0, 0], 0)


@pytest.mark.parametrize("bad", [math.inf, math.nan])
@pytest.mark.parametrize("optimiser", Optimiser)
def test_an_overflow_takes_no_step_and_halves_the_scale(bad: float, optimiser: Optimiser) -> None:
    recipe = Recipe(precision=Precision.FP16, optimiser=optimiser, weight_decay=0.1)
    parameters = {"p": nn.Parameter(torch.ones(2, 2)), "q": nn.Parameter(torch.ones(3))}
    rule, scaler = make_optimiser(recipe, parameters), make_scaler(recipe, CPU)

    def taken(factor: float) -> float:
        loss = sum((factor * parameter).sum() for parameter in parameters.values())
        scaler.scale(torch.as_tensor(loss)).backward()
        return take_step(rule, scaler, parameters, recipe=recipe, factor=1.0)

    taken(1.0)
    before = [parameter.detach().clone() for parameter in parameters.values()]
    memory = [state["step"].item() for state in rule.state_dict()["state"].values()]
    assert not math.isfinite(taken(bad))
    assert scaler.get_scale() == LOSS_SCALE / 2
    assert all(map(torch.equal, parameters.values(), before))
    assert [state["step"].item() for state in rule.state_dict()["state"].values()] == memory
    assert all(parameter.grad is None for parameter in parameters.values())
    taken(1.0)
    assert not any(map(torch.equal, parameters.values(), before))


def test_a_step_without_the_compiler_is_torchs_own_to_the_bit() -> None:
    recipe = Recipe(optimiser=Optimiser.ADAMW, weight_decay=0.1)
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 12).reshape(3, 4)) for _ in range(2))
    settings = {"lr": recipe.learning_rate, "eps": recipe.epsilon, "weight_decay": 0.1}
    rules = [
        make_optimiser(recipe, {"weight": ours}),
        torch.optim.AdamW([theirs], fused=True, **settings),
    ]
    for number in range(4):
        for rule, weight in zip(rules, (ours, theirs), strict=True):
            (weight.sin() * number).sum().backward()
            rule.step()
            rule.zero_grad()
            rule.load_state_dict(rule.state_dict())
    assert torch.equal(ours, theirs)
    assert not ours.allclose(torch.linspace(-1, 1, 12).reshape(3, 4))
