"""The bundled small CLIP is an ordinary open_clip folder, small, and learned from allowed sets."""

import io
import zipfile
from pathlib import Path

import open_clip
import torch
from PIL import Image

from models.tiny import data
from tests.support.places import ROOT

FOLDER = ROOT / "models" / "tiny"
NAME = f"local-dir:{FOLDER}"
NEVER = {"emoji_twemoji", "emoji_openmoji", "tuxpaint_stamps", "fashion_mnist"}


def test_folder_is_small_and_loads_as_open_clip_loads_any() -> None:
    assert (FOLDER / "open_clip_model.safetensors").stat().st_size <= 20_000_000
    model, _, preprocess = open_clip.create_model_and_transforms(NAME)
    assert all(value.isfinite().all() for value in model.state_dict().values())
    tokens = open_clip.get_tokenizer(NAME)(["this is a photo of bear ."])
    pixels = preprocess(Image.new("RGB", (90, 70), "red")).unsqueeze(0)
    with torch.no_grad():
        assert model.encode_text(tokens).shape == model.encode_image(pixels).shape == (1, 128)


def test_training_opens_allowed_sets_only() -> None:
    assert not NEVER & set(data.TRAINING_SETS)


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
