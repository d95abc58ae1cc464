"""Methods that fine-tune and then mix the new weights with old ones.

    θ ← a θ_new + (1 − a) θ_old    over the tensors that train

The logit scale is stored as a logarithm and mixed as such. θ_old is the parent's or the root's,
as the recipe's teacher says.
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

    Source: mean-IMM (Lee et al., 1703.08475). The merged version is the next one's parent, so
    over k updates the root's share falls as (1 − a)^k.
    """

    def conclude(self, ending: TrainingEnd) -> Json:
        """Mix; nothing was chosen."""
        mix(ending.parameters, snapshot(ending.parameters), ending.anchor(), self.recipe.mixing)
        return {}


class Wise(FineTuning):
    """`wise`: try shares 0, 0.1, … 1 and keep the one with the best A-Acc on validation parts.

    Source: WiSE-FT (Wortsman et al., 2109.01903). A-Acc is the mean of the accuracy on the new
    classes and on the kept suites. Of equals, the smaller share wins: it forgets less.
    """

    @property
    def scores(self) -> bool:
        """It chooses its share."""
        return True

    def conclude(self, ending: TrainingEnd) -> Json:
        """Mix with the best share; every share tried, with its scores."""
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
    """A copy of the values."""
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}


@torch.no_grad()
def mix(
    parameters: Mapping[str, nn.Parameter],
    new: Mapping[str, Tensor],
    old: Mapping[str, Tensor],
    share: float,
) -> None:
    """Set each parameter to share · new + (1 − share) · old; shares 0 and 1 give the ends' bits."""
    for name, parameter in parameters.items():
        if share in {0, 1}:
            parameter.copy_(new[name] if share else old[name])
        else:
            parameter.copy_(old[name].lerp(new[name], share))
