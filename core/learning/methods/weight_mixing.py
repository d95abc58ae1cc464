"""Mixing of the new weights with old ones after the last step.

    θ ← a θ_new + (1 − a) θ_old    over the trained tensors

The logit scale is stored and mixed as a logarithm. The recipe's teacher decides whether θ_old is
the parent's or the root's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from core.domain.values import Json

SHARES = tuple(round(0.1 * step, 1) for step in range(11))  # of the new weights


@dataclass(frozen=True, kw_only=True)
class TrainingEnd:
    """A training run after its last step."""

    parameters: Mapping[str, nn.Parameter]  # the student's trained parameters
    anchor: Callable[[], Mapping[str, Tensor]]  # loads the weights to mix the new ones with
    score: Callable[[], tuple[float, float]]  # the student's accuracy: new classes, suites


def mix_fixed(ending: TrainingEnd, share: float) -> None:
    """Mix with a fixed share of the new weights."""
    mix(ending.parameters, snapshot(ending.parameters), ending.anchor(), share)


def mix_best(ending: TrainingEnd) -> Json:
    """Mix with the best share; return it, and every share tried with its scores."""
    return best_share(ending, snapshot(ending.parameters), ending.anchor())


def best_share(ending: TrainingEnd, new: Mapping[str, Tensor], old: Mapping[str, Tensor]) -> Json:
    """Try shares 0, 0.1, … 1, and keep the one with the best A-Acc on validation parts.

    Of equal shares the smaller one is kept, because it forgets less. Returns the share, and every
    share tried with its scores.
    """
    tried = []
    for share in SHARES:
        mix(ending.parameters, new, old, share)
        tried.append(scored(ending, share))
    best = max(tried, key=lambda row: (a_acc(row), -row["mixing"]))["mixing"]
    mix(ending.parameters, new, old, best)
    return {"mixing": best, "tried": tried}


def scored(ending: TrainingEnd, share: float) -> dict[str, Any]:
    """Return a share with the scores that the student has now."""
    learned, kept = ending.score()
    return {"mixing": share, "new": learned, "kept": kept}


def a_acc(scores: Json) -> float:
    """Return the mean of the accuracies on the new classes and on the suites.

    It is rounded, so that equal ones stay equal whatever they were summed from.
    """
    accuracy: float = (scores["new"] + scores["kept"]) / 2
    return round(accuracy, 9)


def snapshot(parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Return a detached copy of the parameters."""
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}


@torch.no_grad()
def mix(
    parameters: Mapping[str, nn.Parameter],
    new: Mapping[str, Tensor],
    old: Mapping[str, Tensor],
    share: float,
) -> None:
    """Set each parameter to share · new + (1 − share) · old; shares 0 and 1 copy the bits."""
    for name, parameter in parameters.items():
        if share in {0, 1}:
            parameter.copy_(new[name] if share else old[name])
        else:
            parameter.copy_(old[name].lerp(new[name], share))
