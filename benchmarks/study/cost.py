"""The compute of a row's steps, by which the rows of a study are given equal budgets.

Rows differ in what a step costs: a second pass, a reference set, fewer trained weights. As in
FoMo-in-Flux (2408.14471), a step's *memory-adjusted compute* is its floating-point operations times
the peak of the memory in use. Both are counted as the trainer takes two real steps. What a method
does once before the first step or after the last is not counted.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, prod
from typing import Any

import torch
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

from benchmarks.memory import Living, storages
from core.learning.setup import BLOCK_SENTENCES, PreparedRun
from core.recipes.rules import Recipe

_FUSED = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_FUSED_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def _convolution_backward(grad: Any, _: Any, weight: Any, *rest: Any, out_shape: Any) -> int:
    """Count the gradients of a convolution's input and weight, each as its forward pass."""
    del out_shape
    inputs, weights, _bias = rest[-1]
    forward: int = 2 * prod(grad) // grad[1] * prod(weight)
    return forward * (bool(inputs) + bool(weights))


_COUNTED: Any = {  # by shapes; of groups, torch's own counter takes too many, of attention none
    torch.ops.aten.convolution_backward: _convolution_backward,
    _FUSED: lambda *shapes, **_: sdpa_flop_count(*shapes[:3]),  # type: ignore[no-untyped-call]
    _FUSED_BACKWARD: lambda *s, **_: sdpa_backward_flop_count(*s[:4]),  # type: ignore[no-untyped-call]
}


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of one step."""

    flops: int  # of matrix products, convolutions and attention
    bytes: int  # tensors in use at the peak: models, gradients, moments, activations

    @property
    def compute(self) -> int:
        """The memory-adjusted compute."""
        return self.flops * self.bytes


def step_cost(run: PreparedRun, recipe: Recipe) -> Cost:
    """Take two steps of a run, and return what one costs.

    The first step makes Adam's moments and encodes the sentences of a block of steps with each
    frozen text tower; its share of that encoding is part of every step.
    """
    update = run.update
    models = (update.models.student, *update.models.teachers)
    held = {key: tensor for model in models for key, tensor in storages(model).items()}
    counts = []
    with _counted_attention(), Living() as living:
        for tensor in held.values():
            living.know(tensor)
        for step in range(2):
            with counting() as counter:
                update.advance(run.reading.step(step % update.steps))
            counts.append(counter.get_total_flops())
    first, second = counts
    block = max(1, BLOCK_SENTENCES // recipe.sentences)
    weights = sum(tensor.untyped_storage().nbytes() for tensor in held.values())
    return Cost(flops=second + (first - second) // block, bytes=weights + living.most)


def counting() -> FlopCounterMode:
    """Return a counter of floating-point operations."""
    return FlopCounterMode(display=False, custom_mapping=_COUNTED)


def budget(cost: Cost, reference: Cost, epochs: int) -> tuple[int, float]:
    """Return whole epochs, and the share of their steps that costs what the reference's cost.

    The share is rounded to 0.001.
    """
    fitting = epochs * reference.compute / cost.compute
    whole = ceil(fitting)
    return whole, round(fitting / whole, 3)


@dataclass(frozen=True, kw_only=True)
class Spent:
    """The cost of the steps of a row."""

    epochs: float
    cost: Cost


@contextmanager
def _counted_attention() -> Iterator[None]:
    """Turn off a fused attention of torch whose operations are not counted."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
