"""Mixing of the new weights with old ones after the last step.

    θ ← a θ_new + (1 − a) θ_old    over the trained tensors

The logit scale is stored and mixed as a logarithm. The recipe's teacher decides whether θ_old is
the parent's or the root's; an update that is to fit its policy is mixed with its parent.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from core.values import Json

SHARES = tuple(round(0.1 * step, 1) for step in range(11))  # of the new weights


@dataclass(frozen=True, kw_only=True)
class TrainingEnd:
    """A training run after its last step."""

    parameters: Mapping[str, nn.Parameter]  # the student's trained parameters
    anchor: Callable[[], Mapping[str, Tensor]]  # loads the weights to mix the new ones with
    score: Callable[[], tuple[float, float]]  # the student's accuracy: new classes, suites
    # What the student at a share loses too much of, or ""; None without validation images.
    excess: Callable[[float], str] | None = None
    share: float | None = None  # of an update that is repeated: the one that fitted


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


def mix_to_fit(ending: TrainingEnd) -> Json:
    """Mix with the largest share of 1, 0.9, … 0.1 that fits the policy; return it and those tried.

    Each is tried in turn until one fits, because by chance a smaller one need not fit where a
    larger one does. If none fits, the smallest is kept. A repeated update takes the share of the
    first.
    """
    new, old = snapshot(ending.parameters), ending.anchor()
    if ending.share is not None:
        mix(ending.parameters, new, old, ending.share)
        return {"mixing": ending.share}
    if ending.excess is None:
        return {"mixing": 1.0, "shrunk": "The whole step was kept: no validation image judges it."}
    tried: list[dict[str, Any]] = []
    for share in reversed(SHARES[1:]):
        mix(ending.parameters, new, old, share)
        tried.append({"mixing": share, "exceeded": ending.excess(share)})
        if not tried[-1]["exceeded"]:
            break
    return {"mixing": share, "shrunk": _shrunk(tried), "tried": tried}


def _shrunk(tried: Sequence[Json]) -> str:
    """Return in a sentence which share was kept, the last tried, and what stood against more."""
    share, exceeded = tried[-1]["mixing"], tried[-1]["exceeded"]
    if exceeded:
        return (
            f"Shrunk to {share:g} of the step, the least that is tried: even so, the validation "
            f"images show too large a loss in {exceeded}."
        )
    if len(tried) == 1:
        return "The whole step was kept: by the validation images, it fits the policy."
    return (
        f"Shrunk to {share:g} of the step: with more, the validation images show too large a loss "
        f"in {tried[-2]['exceeded']}."
    )


# Mixing by a share for each group of layers.
#
#     θ_g ← a_g θ_new + (1 − a_g) θ_old    over the trained tensors of group g
#
# The shares are chosen on validation parts.

STEP = 0.2


def mix_per_layer(ending: TrainingEnd) -> Json:
    """Choose a share for each group of layers (`layer_groups`) by A-Acc on validation parts.

    All groups start with the best share for the whole model (`best_share`). Then each is visited
    once: the image tower's from last to first, then the text tower's. The shares 0, 0.2 less, 0.2
    more and 1 are tried for it alone, and the best of them is kept if its A-Acc is higher than
    that of the weights so far; of equal ones the smallest. On the validation parts, A-Acc is
    therefore never lower than with one share.

    A model is evaluated at most 11 + 4 · 16 = 75 times on the same validation images, so that with
    few of them some of what is gained there is chance. Returns the first share, the share of each
    group, and every share tried with its scores.
    """
    new, old = snapshot(ending.parameters), ending.anchor()
    whole = best_share(ending, new, old)
    first: float = whole["mixing"]
    tried = list(whole["tried"])
    best = max(map(a_acc, tried))
    groups = layer_groups(ending.parameters)
    shares = dict.fromkeys(groups, first)
    for layer, names in reversed(groups.items()):
        parameters = {name: ending.parameters[name] for name in names}
        for share in _candidates(shares[layer]):
            mix(parameters, new, old, share)
            tried.append({"layer": layer, **scored(ending, share)})
            if a_acc(tried[-1]) > best:
                best, shares[layer] = a_acc(tried[-1]), share
        mix(parameters, new, old, shares[layer])
    layers = [{"layer": layer, "mixing": share} for layer, share in shares.items()]
    return {"mixing": first, "layers": layers, "tried": tried}


def _candidates(share: float) -> list[float]:
    """Return the shares to try instead of a share, smallest first."""
    near = {round(min(1.0, max(0.0, share + step)), 1) for step in (-STEP, STEP)}
    return sorted({0.0, *near, 1.0} - {share})


# Groups of a model's parameters by depth, derived from their names.

MOST_BLOCK_GROUPS = 6  # of a tower, beside its stem and its head

_PREFIX = re.compile(r"(visual\.|text\.)?(trunk\.)?(transformer\.)?(encoder\.)?")
_BLOCK = re.compile(  # a residual block of a tower of open_clip, timm or transformers
    r"(resblocks|blocks?|stages|layers?|layer\d+)\.\d+((\.blocks)?\.\d+)?(?=\.)"
)
_HEAD = {
    *("ln_final", "ln_post", "norm", "fc_norm", "layer_norm", "final_layer_norm"),
    *("attnpool", "attn_pool", "final_conv", "conv_head"),
    *("head", "proj", "text_projection"),
}


def layer_groups(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the names of parameters by group: text tower, then image tower, first layer to last.

    The groups of a tower are its stem (embeddings and what else comes before the blocks), its
    residual blocks and its head (final norm, pooling, projection). Adjacent blocks are joined to at
    most 6 groups of nearly equal size. In a tower without such blocks, each top-level child counts
    as one. The logit scale, on which no prediction depends, is in the last group.
    """
    towers: dict[str, list[str]] = {"text": [], "image": []}
    scale = []
    for name in names:
        if name == "logit_scale":
            scale.append(name)
        else:
            towers["image" if name.startswith("visual.") else "text"].append(name)
    groups = {
        f"{tower} {layer}": group
        for tower, members in towers.items()
        for layer, group in _groups_of(members).items()
    }
    groups.setdefault(next(reversed(groups), "logit scale"), []).extend(scale)
    return groups


def _groups_of(names: Sequence[str]) -> dict[str, list[str]]:
    """Return the names of a tower's parameters by group, first layer to last."""
    paths = {name: _PREFIX.sub("", name, count=1) for name in names}
    blocks = {name: found[0] for name, path in paths.items() if (found := _BLOCK.match(path))}
    layers: dict[str, list[str]] = {}
    for name, path in paths.items():
        child = path.split(".")[0]
        end = "head" if child in _HEAD else "stem" if blocks else child
        layers.setdefault(blocks.get(name, end), []).append(name)
    stem, head = layers.pop("stem", []), layers.pop("head", [])
    groups = {"stem": stem, **_joined(layers), "head": head}
    return {layer: group for layer, group in groups.items() if group}


def _joined(layers: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Join adjacent layers to at most `MOST_BLOCK_GROUPS` groups."""
    labels = list(layers)
    count = min(len(labels), MOST_BLOCK_GROUPS)
    groups = {}
    for index in range(count):
        run = labels[len(labels) * index // count : len(labels) * (index + 1) // count]
        label = run[0] if len(run) == 1 else f"{run[0]} to {run[-1]}"
        groups[label] = [name for layer in run for name in layers[layer]]
    return groups
