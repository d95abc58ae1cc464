"""Versions as their users load them: open_clip, transformers and ONNX Runtime."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.clip.model import ClipModel, publish
from core.exporting.exporter import VersionExporter
from core.exporting.onnx import round_weights
from core.exports.exporter import Samples
from core.exports.folders import write_folder
from core.learning.distributed import DETERMINISTIC
from core.registry.exports import ExportFormat
from core.registry.versions import Weights
from tests.support.api.image_files import picture
from tests.support.factories import a_job, a_model, a_policy, a_version
from tests.support.learning.lessons import Watching
from tests.support.learning.tiny_clip import tiny_clip, tiny_config
from tests.support.memory_artifacts import MemoryArtifacts

pytestmark = pytest.mark.filterwarnings("default")  # the libraries warn of one another

TEXTS = ("a photo of a cat.", "12 red apples & 3 pears: £4.50!", "word " * 40)

OPEN_CLIP, HUGGINGFACE = ExportFormat.OPEN_CLIP, ExportFormat.HUGGINGFACE

ONNX, ONNX_INT8 = ExportFormat.ONNX, ExportFormat.ONNX_INT8


QUIET: Any = Watching()


class Desk:
    """An exporter with the versions that it can read, and pictures."""

    def __init__(self) -> None:
        self.artifacts = MemoryArtifacts()
        self.exporter = VersionExporter(self.artifacts, threads=1)
        images = [self.artifacts.put(picture(seed, side=40)) for seed in range(3)]
        self.samples = Samples(images=tuple(images), texts=TEXTS)

    def publish(self, model: ClipModel) -> Weights:
        state = model.network.state_dict()
        return publish(model.config, state, self.artifacts, lambda done, total: None)

    def write(self, weights: Weights, export_format: ExportFormat, folder: Path) -> Path:
        folder.mkdir()
        if export_format is OPEN_CLIP:
            job = a_job(a_model(a_policy()))
            write_folder(self.artifacts, a_version(job, 1, digest=weights.digest), folder)
        else:
            self.exporter.write(weights.digest, export_format, folder, QUIET)
        return folder

    def check(self, weights: Weights, export_format: ExportFormat, folder: Path) -> Any:
        return self.exporter.check(weights.digest, export_format, folder, self.samples, QUIET)


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    torch.set_deterministic_debug_mode(DETERMINISTIC)
    yield Desk()
    torch.set_deterministic_debug_mode("default")


@pytest.fixture(scope="module")
def weights(desk: Desk) -> Weights:
    """A version whose activation is not the usual one."""
    config = tiny_config()
    config["model_cfg"]["quick_gelu"] = True
    return desk.publish(tiny_clip(seed=1, config=config))


@pytest.mark.parametrize("export_format", [OPEN_CLIP, HUGGINGFACE])
def test_a_folder_gives_the_version_s_features_and_is_always_the_same(
    desk: Desk, weights: Weights, tmp_path: Path, export_format: ExportFormat
) -> None:
    assert set(desk.exporter.formats()) == set(ExportFormat)
    folder = desk.write(weights, export_format, tmp_path / "one")
    found = desk.check(weights, export_format, folder)
    assert min(found["least_cosine_images"], found["least_cosine_texts"]) >= 0.9999
    assert (found["images"], found["images_from"], found["texts"]) == (3, "suites", 3)
    assert {"torch", "open_clip_torch", *export_format.libraries} == found["libraries"].keys()
    again = desk.write(weights, export_format, tmp_path / "two")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {
        p.name: p.read_bytes() for p in again.iterdir()
    }


def test_a_folder_that_cannot_be_written_is_an_error_of_the_system(
    desk: Desk, weights: Weights, tmp_path: Path
) -> None:
    """Not one of safetensors, in which nobody would see that a disk is full."""
    with pytest.raises(FileNotFoundError):
        desk.exporter.write(weights.digest, HUGGINGFACE, tmp_path / "gone", QUIET)


def test_a_folder_with_another_tensor_or_activation_is_found_out(
    desk: Desk, weights: Weights, tmp_path: Path
) -> None:
    folder = desk.write(weights, HUGGINGFACE, tmp_path / "one")
    config = json.loads((folder / "config.json").read_bytes())
    assert config["text_config"]["hidden_act"] == "quick_gelu"
    path = folder / "model.safetensors"
    tensors = load_file(path)
    name = "text_model.encoder.layers.0.self_attn.q_proj.weight"
    key = name.replace("q_proj", "k_proj")
    tensors[name], tensors[key] = tensors[key], tensors[name].clone()
    save_file(tensors, path, metadata={"format": "pt"})
    config["vision_config"]["hidden_act"] = "relu"
    (folder / "config.json").write_text(json.dumps(config))
    found = desk.check(weights, HUGGINGFACE, folder)
    assert found["least_cosine_texts"] < 0.9999
    assert found["least_cosine_images"] < 0.9999


def test_onnx_files_give_the_version_s_features_in_batches_of_any_size(
    desk: Desk, weights: Weights, tmp_path: Path
) -> None:
    folder = desk.write(weights, ONNX, tmp_path / "one")
    found = desk.check(weights, ONNX, folder)
    cosines = [found[f"least_cosine_{what}"] for what in ("images", "whole_images", "texts")]
    assert min(cosines) >= 0.9999
    for name in ("image.onnx", "text.onnx"):
        assert b"site-packages" not in (folder / name).read_bytes(), "it says where it was made"
    described = json.loads((folder / "model.json").read_bytes())
    assert described["image"]["size"] == [16, 16]
    assert (described["text"]["context_length"], described["text"]["end_token"]) == (16, 49_407)

    size = (folder / "text.onnx").stat().st_size
    copy = Path(shutil.copytree(folder, tmp_path / "two"))
    round_weights(folder)
    rounded = desk.check(weights, ONNX_INT8, folder)
    assert 0.98 <= rounded["least_cosine_texts"] < 1.0
    assert rounded["least_cosine_images"] >= 0.98
    assert (folder / "text.onnx").stat().st_size < size / 3
    round_weights(copy)
    for name in ("image.onnx", "text.onnx"):
        assert (copy / name).read_bytes() == (folder / name).read_bytes()
