"""Versions as their users load them: open_clip, transformers and ONNX Runtime."""

from __future__ import annotations

import base64
import json
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from core.clip.model import ClipModel, load, publish
from core.clip.served import TorchModel
from core.exporting.exporter import VersionExporter
from core.exporting.onnx import round_weights
from core.exports.exporter import Samples
from core.exports.folders import write_folder
from core.images import child
from core.images.inputs import pack_input
from core.images.pixels import tower_pixels
from core.inference.compare import compare
from core.learning.distributed import DETERMINISTIC
from core.registry.exports import ExportFormat
from core.registry.versions import Weights
from core.settings import Settings
from tests.support.api.image_files import picture
from tests.support.factories import a_job, a_model, a_policy, a_version
from tests.support.learning.lessons import Watching
from tests.support.learning.tiny_clip import tiny_clip, tiny_config
from tests.support.memory_artifacts import MemoryArtifacts
from tests.support.pictures import encode
from tests.support.pictures import picture as picture_of

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


@pytest.fixture(scope="module")
def onnx(desk: Desk, weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The version as ONNX files, which tests copy before they change them."""
    return desk.write(weights, ONNX, tmp_path_factory.mktemp("onnx") / "one")


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
    desk: Desk, weights: Weights, onnx: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(onnx, tmp_path / "one"))
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


def test_what_mlflow_loads_answers_as_the_service_does(
    desk: Desk, weights: Weights, onnx: Path, tmp_path: Path
) -> None:
    from mlflow.exceptions import MlflowException  # half a second, if every process loads it

    from perennial.mlflow.served.loader import MAX_PIXELS, STORED_SIDE, _load_pyfunc, read_image

    folder = Path(shutil.copytree(onnx, tmp_path / "model"))
    served = TorchModel(load(weights.digest, desk.artifacts, torch.device("cpu")).freeze())
    classes, top_k = [f"class {n}" for n in range(4)], 3
    columns = served.encode_tokens(served.tokenizer.rows([f"a photo of a {n}." for n in classes]))
    vectors = [base64.b64encode(row.tobytes()).decode() for row in columns]
    (folder / "classes.json").write_text(json.dumps({"classes": classes, "vectors": vectors}))
    sideways = Image.Exif()
    sideways[0x0112] = 6  # turn a quarter to the right
    files = [encode(picture_of(*size), "PNG") for size in ((700, 40), (16, 16), (40, 90))]
    files.append(encode(picture_of(40, 30), "JPEG", exif=sideways))
    files.append(encode(Image.new("RGBA", (20, 20), (200, 10, 10, 60)), "PNG"))
    found = _load_pyfunc(str(folder)).predict({"image": files}, {"top_k": top_k})
    settings = Settings()
    assert (settings.max_pixels, settings.stored_side) == (MAX_PIXELS, STORED_SIDE)
    pixels = [
        child.pixels(pack_input(served.input) + file, settings.max_pixels, settings.stored_side)
        for file in files
    ]
    assert [data for _, data in pixels] == [
        tower_pixels(read_image(file), served.input).tobytes() for file in files
    ]
    shape = (len(files), served.input.height, served.input.width, 3)
    batch = np.frombuffer(b"".join(data for _, data in pixels), np.uint8).reshape(shape)
    features = served.encode_images(batch)
    best, shares, _ = compare(features, scale=served.scale, columns=columns, top_k=top_k)
    assert [[one["class"] for one in row] for row in found] == [
        [classes[place] for place in row] for row in best
    ]
    probabilities = [[one["probability"] for one in row] for row in found]
    assert np.allclose(probabilities, shares, atol=1e-3)
    one, path = files[0], tmp_path / "one.png"
    path.write_bytes(one)
    forms = {"image": [one, base64.b64encode(one).decode(), path]}
    again = _load_pyfunc(str(folder)).predict(forms)
    assert [row[:top_k] for row in again] == [again[0][:top_k]] * 3
    head = struct.pack("<2sIHHI", b"BM", 54, 0, 0, 54)
    bomb = head + struct.pack("<IiiHHIIiiII", 40, 20_000, 20_000, 1, 24, *[0] * 6)
    for wrong in (str(path), "no image", b"GIF89a", 7, bomb):
        with pytest.raises(MlflowException, match="Row 1: "):
            _load_pyfunc(str(folder)).predict({"image": [one, wrong]})
