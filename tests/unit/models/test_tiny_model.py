"""The bundled small CLIP is an ordinary open_clip folder, small, and learned from allowed sets."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from PIL import Image
from torch import nn

from models.tiny import data, recipe
from models.tiny.augment import normalise
from models.tiny.towers import encode_tokens, tokens_of
from tests.support.places import ROOT

FOLDER = ROOT / "models" / "tiny"
NAME = f"local-dir:{FOLDER}"
NEVER = {"emoji_twemoji", "emoji_openmoji", "tuxpaint_stamps", "fashion_mnist"}


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, Any]:
    """Model and preprocessing, as open_clip loads them."""
    model, _, preprocess = open_clip.create_model_and_transforms(NAME)
    return model.eval(), preprocess


def test_folder_loads_and_encodes_an_image_and_a_text(loaded: tuple[Any, Any]) -> None:
    model, preprocess = loaded
    tokens = open_clip.get_tokenizer(NAME)(["this is a photo of bear ."])
    pixels = preprocess(Image.new("RGB", (90, 70), "red")).unsqueeze(0)
    with torch.no_grad():
        assert model.encode_text(tokens).shape == model.encode_image(pixels).shape == (1, 128)


def test_prompt_is_the_template_it_was_trained_with() -> None:
    assert json.loads((FOLDER / "perennial.json").read_text())["prompt"] == recipe.TEMPLATES[0]


def test_no_batch_norm(loaded: tuple[Any, Any]) -> None:
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    assert not any(isinstance(module, kinds) for module in loaded[0].modules())


def test_context_is_at_most_32(loaded: tuple[Any, Any]) -> None:
    assert loaded[0].context_length <= 32
    assert open_clip.get_tokenizer(NAME)(["a"]).shape[1] == loaded[0].context_length


def test_weights_are_finite_and_at_most_20_megabytes(loaded: tuple[Any, Any]) -> None:
    assert (FOLDER / "open_clip_model.safetensors").stat().st_size <= 20_000_000
    assert all(value.isfinite().all() for value in loaded[0].state_dict().values())


def test_trained_tokens_are_tokens_without_start_and_end() -> None:
    tokens = json.loads((FOLDER / "trained_tokens.json").read_text())
    assert len(tokens) > 1000
    assert tokens == sorted(set(tokens))
    assert tokens[0] >= 0
    assert tokens[-1] < 49406


def test_training_opens_allowed_sets_only() -> None:
    assert not NEVER & set(data.TRAINING_SETS)
    assert len(data.UPDATE_CLASSES) == 20


def test_photographs_of_update_classes_are_left_out(tmp_path: Path) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (32, 32)).save(picture, "WEBP")
    (tmp_path / "sets").mkdir()
    with zipfile.ZipFile(tmp_path / "sets" / "cifar100.zip", "w") as archive:
        for path in ("train/bear/1.webp", "train/tiger/1.webp", "test/bear/2.webp"):
            archive.writestr(path, picture.getvalue())
    read = data.read(tmp_path, source="cifar100", split="train")
    assert [item.path for item in read.items] == ["train/bear/1.webp"]
    assert read.pixels.shape == (1, 3, data.SIDE, data.SIDE)


def test_short_text_pass_equals_the_full_one(loaded: tuple[Any, Any]) -> None:
    model, _ = loaded
    texts = ["a bear", "this is a photo of an aquarium fish ."]
    full = open_clip.get_tokenizer(NAME)(texts)
    with torch.no_grad():
        short = encode_tokens(model, tokens_of(texts))
        assert torch.allclose(short, model.encode_text(full, normalize=True), atol=1e-5)


def test_training_scales_pixels_as_the_folder_says(loaded: tuple[Any, Any]) -> None:
    image = Image.new("RGB", (64, 64), (10, 120, 250))
    expected = loaded[1](image)
    pixels = torch.tensor([10.0, 120.0, 250.0]).view(1, 3, 1, 1).expand(1, 3, 64, 64) / 255
    assert torch.allclose(normalise(pixels)[0], expected, atol=1e-5)


def test_every_image_is_drawn_once_a_pass() -> None:
    seen = [i for step in range(5) for i in data.draw(10, count=2, step=step, seed="s")]
    assert sorted(seen) == list(range(10))
