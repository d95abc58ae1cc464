"""The frozen teachers of an update, which share the student's frozen tensors."""

import copy
from collections.abc import Callable, Mapping

import torch
from torch import nn

from core.clip.model import ClipModel
from core.domain.recipes.choices import TeacherPolicy
from core.domain.values import Digest
from core.ports import TrainingSpec


def load_teachers(
    spec: TrainingSpec,
    parent: ClipModel,
    parameters: Mapping[str, nn.Parameter],
    load: Callable[[Digest], ClipModel],
) -> dict[Digest, ClipModel]:
    """Return the recipe's teachers by version digest; a first update's parent is the root."""
    wanted = {
        TeacherPolicy.PARENT: (spec.parent,),
        TeacherPolicy.ROOT: (spec.root,),
        TeacherPolicy.BOTH: (spec.parent, spec.root),
    }[spec.recipe.teacher]
    trained = {id(parameter) for parameter in parameters.values()}
    shared = {id(p): p for p in parent.network.parameters() if id(p) not in trained}
    found: dict[Digest, ClipModel] = {}
    for digest in dict.fromkeys(wanted):
        if digest == spec.parent:
            network = copy.deepcopy(parent.network, dict(shared))
            found[digest] = ClipModel(network=network, config=parent.config)
        else:
            found[digest] = _share_frozen(load(digest).freeze(), parent, shared)
    return found


def _share_frozen(
    model: ClipModel, parent: ClipModel, shared: Mapping[int, nn.Parameter]
) -> ClipModel:
    """Replace a model's tensors by the parent's frozen ones with the same values."""
    own = dict(model.network.named_parameters())
    for name, parameter in parent.network.named_parameters():
        if id(parameter) in shared and torch.equal(parameter, own[name]):
            own[name].data = parameter.data
    return model


def share_images(one: ClipModel, other: ClipModel) -> bool:
    """Return whether two models' image towers are the same tensors."""
    pairs = zip(one.visual.parameters(), other.visual.parameters(), strict=True)
    return all(a.data_ptr() == b.data_ptr() for a, b in pairs)
