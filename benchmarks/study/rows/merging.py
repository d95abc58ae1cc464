"""Merging of the versions of a line by the magnitude of what each has changed."""

from collections.abc import Mapping

import torch
from torch import Tensor

from core.clip.model import load
from core.learning.methods import LearningMethod, TrainingStart
from core.learning.mixing import TrainingEnd, snapshot
from core.learning.vocabulary import Columns
from core.recipes.rules import Recipe
from core.values import Json


class MagMax(LearningMethod):
    """`magmax`: of each weight, keep the largest change since the root, by any update of a line.

        τ_t = θ_t − θ_0        τ = τ_k of the k ≤ t with the largest |τ_k|, weight by weight
        θ = θ_0 + λ τ

    θ_0 is the root, θ_t what update t has trained, and λ is `scale`. Of equal magnitudes the later
    change counts. The parent holds θ_0 + λ τ of the updates before, so their τ is read off it and
    nothing else has to be stored. The paper's updates each start from the one before; that one is
    gone here once it is merged, so an update starts from θ_0 + τ. For a first update that is the
    root, and the result is WiSE-FT's with share λ.

    Source: MagMax (Marczak et al., 2407.06322), and its released `merge_max_abs`, which has
    λ = 0.5. Its recipe is fine-tuning.
    """

    def __init__(self, recipe: Recipe, columns: Columns, *, scale: float) -> None:
        super().__init__(recipe, columns)
        self._scale = scale

    @torch.no_grad()
    def prepare(self, beginning: TrainingStart) -> None:
        """Read the earlier updates' changes off the parent, and start from them unscaled."""
        parameters, spec = beginning.models.parameters, beginning.spec
        root = load(spec.root, beginning.artifacts, beginning.models.student.device)
        tensors = dict(root.network.named_parameters())
        self._root = {name: tensors[name].detach() for name in parameters}
        self._earlier: dict[str, Tensor] = {}
        for name, parameter in parameters.items():
            self._earlier[name] = (parameter - self._root[name]) / self._scale
            if spec.parent != spec.root:
                parameter.copy_(self._root[name] + self._earlier[name])

    @torch.no_grad()
    def conclude(self, ending: TrainingEnd) -> Json:
        """Merge; return the share of weights whose largest change is this update's."""
        new = {
            name: value - self._root[name] for name, value in snapshot(ending.parameters).items()
        }
        largest = merged(self._earlier, new)
        for name, parameter in ending.parameters.items():
            parameter.copy_(self._root[name] + self._scale * largest[name])
        own = sum(int((largest[name] == new[name]).sum()) for name in new)
        return {"largest": own / sum(change.numel() for change in new.values())}


def merged(earlier: Mapping[str, Tensor], later: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return of each weight the change that is larger in magnitude."""
    return {
        name: torch.where(change.abs() >= earlier[name].abs(), change, earlier[name])
        for name, change in later.items()
    }
