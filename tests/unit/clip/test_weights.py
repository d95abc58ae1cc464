"""Weights survive the artifact store, and their digest names them alone."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image

from core.clip.model import load, publish, read_state
from core.errors import ArtifactCorrupt
from tests.support.learning.tiny_clip import folder_of, stored, tiny_clip
from tests.support.memory_artifacts import MemoryArtifacts


def test_a_stored_model_comes_back_bit_for_bit() -> None:
    artifacts, model = MemoryArtifacts(), tiny_clip()
    weights = stored(model, artifacts)
    back = load(weights.digest, artifacts)
    assert back.config == model.config
    for name, tensor in model.network.state_dict().items():
        assert torch.equal(tensor, back.network.state_dict()[name])
    assert torch.equal(back.encode_texts(["a dog"]), model.encode_texts(["a dog"]))


def test_digest_changes_with_one_bit_of_one_tensor_and_the_rest_is_shared() -> None:
    artifacts, model = MemoryArtifacts(), tiny_clip()
    before = stored(model, artifacts)
    held = len(artifacts.bytes_of)
    with torch.no_grad():
        model.logit_scale.add_(1e-6)
    assert stored(model, artifacts).digest != before.digest
    assert len(artifacts.bytes_of) == held + 2  # the scale, and the new list


def test_every_dtype_and_shape_survives_and_half_becomes_single() -> None:
    artifacts = MemoryArtifacts()
    state = {
        "scalar": torch.tensor(2.5),
        "count": torch.tensor([3, 2**40]),
        "mask": torch.tensor([[True], [False]]),
        "none": torch.zeros(0, 4),
        "half": torch.tensor([0.5, 1.25], dtype=torch.float16),
        "turned": torch.arange(6.0).reshape(2, 3).T,
    }
    back = read_state(publish({}, state, artifacts, lambda done, total: None), artifacts)
    assert back["half"].dtype == torch.float32
    for name, tensor in state.items():
        assert torch.equal(back[name], tensor.to(back[name].dtype))


def test_tensors_are_stored_as_raw_little_endian_bytes() -> None:
    artifacts = MemoryArtifacts()
    weights = publish({}, {"one": torch.tensor([1.0])}, artifacts, lambda done, total: None)
    assert artifacts.get(weights.tensors[0].digest) == b"\x00\x00\x80\x3f"


def test_a_flipped_bit_is_found_before_the_model_is_used() -> None:
    artifacts, model = MemoryArtifacts(), tiny_clip()
    weights = stored(model, artifacts)
    entry = next(entry for entry in weights.tensors if entry.name == "visual.proj")
    data = bytearray(artifacts.bytes_of[entry.digest])
    data[7] ^= 1
    artifacts.bytes_of[entry.digest] = bytes(data)
    with pytest.raises(ArtifactCorrupt):
        load(weights.digest, artifacts)


def test_open_clip_loads_the_config_and_tensors_unchanged(tmp_path: Path) -> None:
    model = tiny_clip()
    model.config["perennial"] = {"trained_tokens": [1, 2], "prompt": "a {name}"}
    folder = folder_of(tmp_path / "version", model)
    theirs, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    image = Image.linear_gradient("L").convert("RGB")
    pixels = model.preprocess.evaluation_pixels(image)[None]
    with torch.no_grad():
        torch.testing.assert_close(
            theirs.encode_image(transform(image)[None], normalize=True),
            model.encode_images(pixels),
        )
        torch.testing.assert_close(
            theirs.encode_text(tokenizer(["an okapi"]), normalize=True),
            model.encode_texts(["an okapi"]),
        )
