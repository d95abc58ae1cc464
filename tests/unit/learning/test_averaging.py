"""Averages of the weights, against loops by hand."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

import pytest
import torch
from torch import nn

from core.learning.distributed import repeatable
from core.learning.step import AveragedWeights
from core.recipes.fields import Averaging, Method
from core.recipes.rules import Recipe
from core.training.trainer import TrainingSpec
from tests.support.learning.lessons import prepared, tensors, train, with_recipe
from tests.support.memory_artifacts import MemoryArtifacts

PATH = (3.0, 5.0, 4.0, 8.0, 1.0, 9.0)  # of a weight, its start included


def averaged(recipe: Recipe) -> float:
    """The average of the path."""
    parameters = {"p": nn.Parameter(torch.tensor([PATH[0]], dtype=torch.float64))}
    average = AveragedWeights(recipe, parameters)
    for step, value in enumerate(PATH[1:], start=1):
        parameters["p"].data.fill_(value)
        average.sample(step)
    average.apply()
    return parameters["p"].item()


@pytest.mark.parametrize("every", [1, 2])
def test_running_is_the_plain_mean_of_the_samples_and_the_start(every: int) -> None:
    recipe = Recipe(averaging=Averaging.RUNNING, averaging_every=every)
    assert averaged(recipe) == pytest.approx(fmean(PATH[::every]))
    assert averaged(replace(recipe, averaging=Averaging.NONE)) == PATH[-1]


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("decay", [0.0, 0.25, 0.9])
def test_ema_keeps_its_decay_of_what_it_was(decay: float, every: int) -> None:
    recipe = Recipe(averaging=Averaging.EMA, averaging_decay=decay, averaging_every=every)
    expected = PATH[0]
    for value in PATH[every::every]:
        expected = decay * expected + (1 - decay) * value
    assert averaged(recipe) == pytest.approx(expected)


def weights_along(artifacts: MemoryArtifacts, spec: TrainingSpec) -> list[dict[str, torch.Tensor]]:
    """A student's parameters before its first step and after each."""
    found = []
    with repeatable(spec.recipe.seed, device=torch.device("cpu"), threads=1):
        run = prepared(artifacts, spec)
        parameters = run.update.models.parameters
        for step in range(run.update.steps + 1):
            found.append({name: p.detach().double() for name, p in parameters.items()})
            if step < run.update.steps:
                run.update.advance(run.reading.step(step))
    return found


@pytest.mark.parametrize("method", [Method.FT, Method.VRLWF])
@pytest.mark.parametrize(
    ("averaging", "shares"),
    [
        (Averaging.RUNNING, (0.2, 0.2, 0.2, 0.2, 0.2)),
        (Averaging.EMA, (0.0625, 0.0625, 0.125, 0.25, 0.5)),
    ],
)
def test_a_version_is_the_average_along_its_update(
    method: Method,
    averaging: Averaging,
    shares: tuple[float, ...],
    artifacts: MemoryArtifacts,
    spec: TrainingSpec,
) -> None:
    spec = with_recipe(spec, method=method)
    path = weights_along(artifacts, spec)
    made = train(artifacts, with_recipe(spec, averaging=averaging, averaging_decay=0.5)).digest
    found = tensors(artifacts, made)
    for name in path[0]:
        mean = sum(share * point[name] for share, point in zip(shares, path, strict=True))
        torch.testing.assert_close(found[name].double(), mean, rtol=1e-5, atol=1e-7)
