"""Bases: what is imported and refused; weights, which their digest names."""

from __future__ import annotations

import errno
import json
import time
from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image

from core.bases.bases import CATALOGUE
from core.clip.bases import BaseImporter, read_pretrained, read_while_growing
from core.clip.catalogue import to_text
from core.clip.model import load, publish, read_state
from core.errors import (
    ArtifactCorrupt,
    BaseUnknown,
    CancelRequested,
    ModelNotTrainable,
    PromptInvalid,
    StorageFull,
    WeightsFormat,
)
from tests.support.learning.lessons import Watching
from tests.support.learning.tiny_clip import folder_of, stored, tiny_clip, tiny_config
from tests.support.memory_artifacts import MemoryArtifacts


def test_the_committed_catalogue_is_that_of_the_installed_open_clip() -> None:
    committed = CATALOGUE.read_text("utf-8")
    assert committed == to_text(), f"python -m core.clip.catalogue > {CATALOGUE}"


def test_a_half_precision_folder_is_imported_as_fp32(tmp_path: Path) -> None:
    artifacts, monitor, model = MemoryArtifacts(), Watching(), tiny_clip()
    folder = folder_of(tmp_path / "base", model, torch.float16)
    importer = BaseImporter(artifacts, folders=(tmp_path,))
    weights, prompt = importer.load(f"local-dir:{folder}", monitor)
    assert {entry.dtype for entry in weights.tensors} == {"F32"}
    assert prompt == "a photo of a {name}."
    assert artifacts.has(weights.digest)
    assert {"loading", "publishing"} <= {phase for phase, _, _ in monitor.steps}
    assert importer.load(str(folder), monitor)[0].digest == weights.digest


def test_a_base_that_was_a_version_in_bf16_is_imported_as_fp32(tmp_path: Path) -> None:
    artifacts, model, found = MemoryArtifacts(), tiny_clip(), []
    importer = BaseImporter(artifacts, folders=(tmp_path,))
    for name, config in (("fp32", model.config), ("bf16", {**model.config, "precision": "bf16"})):
        model.config = config
        folder = folder_of(tmp_path / name, model)
        found.append(importer.load(str(folder), Watching())[0])
    assert found[0] == found[1]


def test_the_bundled_base_brings_its_tokens_and_prompt(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "tiny", tiny_clip())
    (folder / "trained_tokens.json").write_text("[7, 9]")
    (folder / "perennial.json").write_text('{"prompt": "see {name}"}')
    artifacts = MemoryArtifacts()
    weights, prompt = BaseImporter(artifacts, bundled=folder).load("bundled", Watching())
    assert prompt == "see {name}"
    assert load(weights.digest, artifacts).trained_tokens == (7, 9)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("trained_tokens.json", "[7, 49408]"),
        ("trained_tokens.json", '["cat"]'),
        ("trained_tokens.json", "[7,"),
        ("perennial.json", '{"prompt": 7}'),
        ("perennial.json", '{"prompt": "no slot"}'),
        ("perennial.json", "[7]"),
        ("open_clip_config.json", json.dumps({**tiny_config(), "perennial": ["see {name}"]})),
    ],
)
def test_odd_files_beside_the_weights_are_refused_at_import(
    name: str, content: str, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "odd", tiny_clip())
    (folder / name).write_text(content)
    artifacts = MemoryArtifacts()
    with pytest.raises((BaseUnknown, PromptInvalid)):
        BaseImporter(artifacts, bundled=folder).load("bundled", Watching())
    assert artifacts.bytes_of == {}


@pytest.mark.parametrize("base", ["", "no-such", "ViT-B-32:no-such-tag", "NoNet:openai", "/etc"])
def test_an_unknown_base_is_refused(base: str, tmp_path: Path) -> None:
    with pytest.raises(BaseUnknown):
        BaseImporter(MemoryArtifacts(), folders=(tmp_path,)).load(base, Watching())


def test_a_folder_outside_the_allowed_ones_is_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "secret" / "model", tiny_clip())
    (tmp_path / "open").mkdir()
    importer = BaseImporter(MemoryArtifacts(), folders=(tmp_path / "open",))
    file = folder / "open_clip_model.safetensors"
    for base in (str(folder), f"{tmp_path}/open/../secret/model", f"ViT-B-32:{file}"):
        with pytest.raises(BaseUnknown, match="setting PERENNIAL_ROOT_FOLDERS"):
            importer.load(base, Watching())


def test_weights_of_other_libraries_are_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "base", tiny_clip())
    (folder / "open_clip_model.safetensors").rename(folder / "flax_model.msgpack")
    with pytest.raises(WeightsFormat):
        BaseImporter(MemoryArtifacts(), folders=(tmp_path,)).load(str(folder), Watching())


@pytest.mark.parametrize(
    "damage", ["truncated", "other_shape", "bad_config", "no_weights", "foreign_tower"]
)
def test_a_folder_that_is_damaged_or_that_we_cannot_feed_is_refused(
    damage: str, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "base", tiny_clip())
    weights, config = folder / "open_clip_model.safetensors", folder / "open_clip_config.json"
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "other_shape":
        config.write_text(json.dumps(tiny_config(width=12)))
    elif damage == "bad_config":
        config.write_text("{")
    elif damage == "foreign_tower":
        config.write_text(json.dumps(tiny_config(hf_model_name="a/tower", hf_tokenizer_name="x")))
    else:
        weights.unlink()
    with pytest.raises(ModelNotTrainable if damage == "foreign_tower" else BaseUnknown):
        BaseImporter(MemoryArtifacts(), folders=(tmp_path,)).load(str(folder), Watching())


def test_a_listed_base_keeps_the_activation_its_weights_were_trained_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """OpenAI's weights need QuickGELU, which the plain name's config does not say."""
    network = tiny_clip(config=tiny_config()).network
    open_clip.set_model_preprocess_cfg(
        network, {"size": (16, 16), "mean": (0.1, 0.2, 0.3), "std": (1, 1, 1)}
    )
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda name, tag: {"quick_gelu": True})
    monkeypatch.setattr(open_clip, "get_model_config", lambda name: tiny_config()["model_cfg"])
    monkeypatch.setattr(open_clip, "create_model", lambda *args, **settings: network)
    artifacts = MemoryArtifacts()
    weights, _ = BaseImporter(artifacts).load("ViT-Tiny:openai", Watching())
    back = load(weights.digest, artifacts)
    assert back.config["model_cfg"]["quick_gelu"] is True
    assert back.config["preprocess_cfg"]["mean"] == [0.1, 0.2, 0.3]
    assert torch.equal(
        back.network.state_dict()["visual.proj"], network.state_dict()["visual.proj"]
    )


def test_a_base_that_does_not_download_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **settings: object) -> None:
        raise RuntimeError("no route")

    monkeypatch.setattr(open_clip, "create_model", offline)
    with pytest.raises(BaseUnknown, match="no route"):
        BaseImporter(MemoryArtifacts()).load("ViT-B-32:openai", Watching())


def test_download_that_finds_no_room_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: object, **__: object) -> None:
        error = FileNotFoundError("Failed to download file.")  # as open_clip passes it on
        raise error from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("open_clip.create_model", download)
    with pytest.raises(StorageFull):
        read_pretrained("ViT-B-32", "openai")


def test_a_cancelled_import_stops(tmp_path: Path) -> None:
    def download() -> None:
        with (tmp_path / "weights").open("wb", buffering=0) as file:
            for _ in range(8):
                file.write(b"x" * 100)
                time.sleep(0.05)

    monitor = Watching(stop_in="loading", stop_at=100, stop_with=CancelRequested)
    with pytest.raises(CancelRequested):
        read_while_growing(download, monitor, caches=(tmp_path,), look_every_s=0.02)


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
