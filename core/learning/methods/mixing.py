"""Methods that fine-tune and then mix the new weights with old ones.

    θ ← a θ_new + (1 − a) θ_old    over the trained tensors

The logit scale is stored and mixed as a logarithm. The recipe's teacher decides whether θ_old is
the parent's or the root's.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from core.domain.values import Json
from core.learning.methods.distilling import FineTuning
from core.learning.methods.method import TrainingEnd

SHARES = tuple(round(0.1 * step, 1) for step in range(11))  # of the new weights


class MeanImm(FineTuning):
    """`imm_mean`: mix with a fixed share.

    The mixed version is the parent of the next update, so over k updates the root's share falls
    as (1 − a)^k. Source: mean-IMM (Lee et al., 1703.08475).
    """

    def conclude(self, ending: TrainingEnd) -> Json:
        """Mix the weights; return no choices."""
        mix(ending.parameters, snapshot(ending.parameters), ending.anchor(), self.recipe.mixing)
        return {}


class Wise(FineTuning):
    """`wise`: try shares 0, 0.1, … 1 and keep the one with the best A-Acc on validation parts.

    A-Acc is the mean of the accuracies on the new classes and on the model's suites. Of equal
    shares the smaller one is kept, because it forgets less. Source: WiSE-FT (Wortsman et al.,
    2109.01903).
    """

    @property
    def scores(self) -> bool:
        """True: scores decide the share."""
        return True

    def conclude(self, ending: TrainingEnd) -> Json:
        """Mix with the best share; return it, and every share tried with its scores."""
        new, old = snapshot(ending.parameters), ending.anchor()
        tried = []
        for share in SHARES:
            mix(ending.parameters, new, old, share)
            learned, kept = ending.score()
            tried.append({"mixing": share, "new": learned, "kept": kept})
        best = max(tried, key=lambda row: (row["new"] + row["kept"], -row["mixing"]))["mixing"]
        mix(ending.parameters, new, old, best)
        return {"mixing": best, "tried": tried}


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
