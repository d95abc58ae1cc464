"""Groups of a model's parameters by depth, derived from their names."""

import re
from collections.abc import Iterable, Mapping, Sequence

MOST_BLOCK_GROUPS = 6  # of a tower, beside its stem and its head

_PREFIX = re.compile(r"(visual\.|text\.)?(trunk\.)?(transformer\.)?")
_BLOCK = re.compile(  # a residual block of a tower of open_clip or timm
    r"(resblocks|blocks|stages|layers|layer\d+)\.\d+((\.blocks)?\.\d+)?(?=\.)"
)
_HEAD = {
    *("ln_final", "ln_post", "norm", "fc_norm"),
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
