"""Averages of the weights over training, which are less noisy than the last step's weights."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from core.domain.recipes.choices import Averaging
from core.domain.recipes.recipe import Recipe
from core.learning.methods.weight_mixing import snapshot


class AveragedWeights:
    """The recipe's weight average, sampled every `averaging_every` steps.

    The initial weights are the first sample.

    `ema`: θ̄ ← m θ̄ + (1 − m) θ. `running`: the plain mean of all samples (ZSCL's ensemble).
    """

    def __init__(self, recipe: Recipe, parameters: Mapping[str, nn.Parameter]) -> None:
        self._recipe = recipe
        self._parameters = parameters
        self._samples = 1
        self._mean = snapshot(parameters) if recipe.averaging is not Averaging.NONE else {}

    @torch.no_grad()
    def sample(self, step: int) -> None:
        """Add the weights after `step` steps to the average, if a sample is due."""
        if not self._mean or step % self._recipe.averaging_every:
            return
        self._samples += 1
        ema = self._recipe.averaging is Averaging.EMA
        share = 1 - self._recipe.averaging_decay if ema else 1 / self._samples
        for name, parameter in self._parameters.items():
            self._mean[name].lerp_(parameter, share)

    @torch.no_grad()
    def apply(self) -> None:
        """Set the parameters to their average."""
        for name, value in self._mean.items():
            self._parameters[name].copy_(value)

    def state(self) -> dict[str, Any]:
        """Return the state that `restore` needs."""
        return {"samples": self._samples, "mean": self._mean}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a state that `state` returned."""
        self._samples = state["samples"]
        for name, value in state["mean"].items():
            self._mean[name].copy_(value)
