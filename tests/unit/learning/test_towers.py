"""Every kind of tower that can be taught: through store, training and back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from core.clip.model import ClipModel, load
from core.learning.optimisation import trained_parameters
from core.learning.vocabulary import generator_of, sentences_of
from core.recipes.fields import Method, ModelPart, Precision
from core.recipes.rules import Recipe
from core.registry.image_tops import is_below_top
from core.registry.versions import Weights
from core.training.trainer import TrainingSpec
from core.values import Digest
from tests.support.learning.lessons import PARTS, Watching, red_and_blue, train, with_recipe
from tests.support.learning.tiny_clip import stored, tiny_clip, tiny_config
from tests.support.learning.towers import TOWERS, config_of
from tests.support.memory_artifacts import MemoryArtifacts

BATCH_NORM = ("resnet", "timm with batch norm")

# A step of any size shows what moves; a small one keeps random towers from diverging.
RECIPE = Recipe(
    epochs=1,
    batch_size=4,
    learning_rate=1e-3,
    sentences=6,
    sentence_length=6,
    precision=Precision.FP32,
    seed=3,
)


def lesson(artifacts: MemoryArtifacts, config: dict[str, Any]) -> TrainingSpec:
    """Red and blue squares for a fresh model of a config."""
    model = tiny_clip(config=config)
    spread_statistics(model)
    parent = stored(model, artifacts)
    spec = red_and_blue(artifacts)
    return replace(spec, parent=parent.digest, root=parent.digest, recipe=RECIPE)


def spread_statistics(model: ClipModel) -> None:
    """Statistics as training leaves them: a fresh BatchNorm has means 0 and variances 1."""
    generator = torch.Generator().manual_seed(1)
    for layer in model.network.modules():
        if isinstance(layer, _BatchNorm):
            layer.running_mean.normal_(std=0.1, generator=generator)
            layer.running_var.uniform_(0.5, 1.5, generator=generator)


def tensors_of(artifacts: MemoryArtifacts, version: Digest) -> dict[str, Digest]:
    weights = Weights.from_bytes(artifacts.get(version))
    return {entry.name: entry.digest for entry in weights.tensors}


def batch_norm_of(model: ClipModel) -> set[str]:
    """Names of all tensors of BatchNorm layers: statistics, weights and biases."""
    return {
        f"{layer}.{name}"
        for layer, module in model.network.named_modules()
        if isinstance(module, _BatchNorm)
        for name in module.state_dict()
    }


@pytest.mark.parametrize(
    ("tower", "part"),
    [
        *((tower, part) for tower in (None, *TOWERS) for part in PARTS),
        ("timm with dropout", ModelPart.TOP),
    ],
)
def test_a_part_of_any_tower_learns_and_the_rest_keeps_every_bit(
    tower: str | None, part: ModelPart, artifacts: MemoryArtifacts
) -> None:
    config = config_of(tower) if tower else tiny_config()
    spec = with_recipe(lesson(artifacts, config), part=part, method=Method.VRLWF)
    monitor = Watching()
    version = train(artifacts, spec, monitor).digest
    before, after = tensors_of(artifacts, spec.parent), tensors_of(artifacts, version)
    model = load(version, artifacts)
    changed = {name for name in after if after[name] != before[name]}
    assert before.keys() == after.keys()
    assert "logit_scale" in changed
    assert changed <= set(trained_parameters(model, part))
    assert not changed & batch_norm_of(model)
    assert bool(batch_norm_of(model)) is (tower in BATCH_NORM)
    sides = {name.startswith("visual.") for name in changed - {"logit_scale"}}
    assert (
        sides
        == {
            ModelPart.WHOLE: {True, False},
            ModelPart.IMAGE: {True},
            ModelPart.TEXT: {False},
            ModelPart.TOP: {True, False},
        }[part]
    )
    assert part is not ModelPart.TOP or not any(map(is_below_top, changed))
    # Dropout is off and statistics are fixed: no distance yet.
    assert monitor.terms[0]["vr"] == pytest.approx(0, abs=1e-5)
    assert monitor.terms[-1]["vr"] > 1e-5
    assert model.config == config
    blank = torch.full((1, 3, *model.preprocess.size), 200, dtype=torch.uint8)
    images, texts = model.encode_images(blank), model.encode_texts(["a photo of a cat."])
    assert images.shape == texts.shape == (1, config["model_cfg"]["embed_dim"])


@pytest.mark.parametrize("tower", TOWERS)
def test_a_batch_read_in_parts_and_recomputed_gives_the_same_update(
    tower: str, artifacts: MemoryArtifacts
) -> None:
    """Also with BatchNorm: its statistics are fixed, so an image does not feel its neighbours."""
    # Adam's epsilon is large: it would make steps of the rounding where a gradient is zero.
    changes = {"precision": Precision.FP32, "epsilon": 1e-4}
    spec = with_recipe(lesson(artifacts, config_of(tower)), **changes)
    parts = with_recipe(spec, micro_batch=2, gradient_checkpointing=tower != "resnet")
    watches = Watching(), Watching()
    for one, monitor in zip((spec, parts), watches, strict=True):
        train(artifacts, one, monitor)
    for whole, part in zip(*(monitor.terms for monitor in watches), strict=True):
        for term in ("loss", "ce", "vr"):
            assert part[term] == pytest.approx(whole[term], rel=1e-3, abs=1e-6)


def test_a_logit_bias_changes_nothing_and_is_not_changed(artifacts: MemoryArtifacts) -> None:
    """Z = s I T' + b: softmax over the classes is the same for every b."""
    learned = []
    for bias in (-10.0, 0.0):
        config = config_of("siglip", init_logit_bias=bias)
        spec = lesson(artifacts, config)
        tensors = tensors_of(artifacts, train(artifacts, spec).digest)
        assert tensors.pop("logit_bias") == tensors_of(artifacts, spec.parent)["logit_bias"]
        assert "logit_bias" not in trained_parameters(load(spec.parent, artifacts), ModelPart.WHOLE)
        learned.append(tensors)
    assert learned[0] == learned[1]


def test_random_sentences_are_padded_as_the_tokenizer_pads(artifacts: MemoryArtifacts) -> None:
    model = load(lesson(artifacts, config_of("siglip")).parent, artifacts)
    drawn = sentences_of(RECIPE, model).draw(generator_of("test"))
    text = model.tokenise(["a cat"])[0]
    end = model.tokenizer.frame.end
    padding = text[(text == end).nonzero().item() + 1 :].unique()
    assert torch.equal(drawn[:, RECIPE.sentence_length :].unique(), padding)
    assert (drawn[:, RECIPE.sentence_length - 1] == end).all()
