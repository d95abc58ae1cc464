"""Groups of a model's parameters, by their names alone."""

from __future__ import annotations

import open_clip
import pytest
import torch

from core.clip.model import empty_network
from core.learning.mixing import layer_groups
from core.learning.optimisation import trained_parameters
from core.recipes.fields import ModelPart
from tests.support.learning.tiny_clip import tiny_clip
from tests.support.learning.towers import TOWERS, config_of

TEXT = [
    "text stem",
    *(f"text resblocks.{block} to resblocks.{block + 1}" for block in range(0, 12, 2)),
    "text head",
]


def names_of(model: str) -> list[str]:
    """The names of an open_clip model's parameters."""
    with torch.device("meta"):
        network = empty_network({"model_cfg": open_clip.get_model_config(model)})
    return [name for name, _ in network.named_parameters()]


@pytest.mark.parametrize(
    ("model", "image"),
    [
        (
            "ViT-B-32",
            [f"resblocks.{block} to resblocks.{block + 1}" for block in range(0, 12, 2)],
        ),
        (
            "RN50",
            [
                *("layer1.0 to layer1.1", "layer1.2 to layer2.1", "layer2.2 to layer3.0"),
                *("layer3.1 to layer3.2", "layer3.3 to layer3.5", "layer4.0 to layer4.2"),
            ],
        ),
        (
            "ViT-B-16-SigLIP",
            [f"blocks.{block} to blocks.{block + 1}" for block in range(0, 12, 2)],
        ),
    ],
)
def test_a_tower_has_a_stem_six_groups_of_adjacent_blocks_and_a_head(
    model: str, image: list[str]
) -> None:
    expected = ["stem", *image, "head"]
    assert list(layer_groups(names_of(model))) == [*TEXT, *(f"image {name}" for name in expected)]


@pytest.mark.parametrize("part", ModelPart)
@pytest.mark.parametrize("tower", [None, *TOWERS])
def test_every_trained_parameter_is_in_one_group(tower: str | None, part: ModelPart) -> None:
    model = tiny_clip(config=config_of(tower) if tower else None)
    names = list(trained_parameters(model, part))
    groups = layer_groups(names)
    assert sorted(name for group in groups.values() for name in group) == sorted(names)
    assert all(groups.values())
    *_, last = groups.values()
    assert "logit_scale" in last
    assert {group.split()[0] for group in groups} == {
        ModelPart.WHOLE: {"text", "image"},
        ModelPart.IMAGE: {"image"},
        ModelPart.TEXT: {"text"},
    }[part]


def test_blocks_that_are_few_enough_stay_alone_and_others_are_joined_evenly() -> None:
    def blocks(count: int) -> list[int]:
        names = [f"visual.transformer.resblocks.{n}.ln_1.weight" for n in range(count)]
        return [len(group) for group in layer_groups(names).values()]

    assert blocks(1) == [1]
    assert blocks(6) == [1] * 6
    assert blocks(7) == [1, 1, 1, 1, 1, 2]
    assert blocks(32) == [5, 5, 6, 5, 5, 6]


def test_a_tower_without_known_blocks_has_a_group_for_each_top_level_child() -> None:
    children = ["stem", "s1", "s2", "final", "head"]
    names = [f"visual.trunk.{child}.b{n}.weight" for child in children for n in (1, 2)]
    groups = layer_groups(["odd", *names, "logit_scale"])
    joined = layer_groups(f"visual.part{n}.weight" for n in range(12))
    assert list(joined) == [f"image part{n} to part{n + 1}" for n in range(0, 12, 2)]
    assert list(groups) == ["text odd", *(f"image {child}" for child in children)]
    assert groups["image s1"] == ["visual.trunk.s1.b1.weight", "visual.trunk.s1.b2.weight"]
    assert groups["image head"][-1] == "logit_scale"
