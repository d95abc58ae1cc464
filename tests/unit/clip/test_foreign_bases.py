"""Bases as other tools save them: folders of transformers, and files of torch."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import normalize

from core.bases.huggingface import SIGLIP_TOWERS
from core.clip.bases import BaseImporter
from core.clip.model import ClipModel, load
from core.engines.tokens import ClipTokenizer
from core.errors import BaseUnknown, ModelNotTrainable
from tests.support.learning.foreign import change, clip_folder, know_small_siglip, siglip_folder
from tests.support.learning.lessons import Watching
from tests.support.learning.tiny_clip import folder_of, stored, tiny_clip
from tests.support.memory_artifacts import MemoryArtifacts

pytestmark = pytest.mark.filterwarnings("default")  # transformers and TorchScript warn

TEXTS = ["a photo of a red panda", "two blue squares on a wall"]


def imported(base: str, root: Path) -> ClipModel:
    artifacts = MemoryArtifacts()
    weights, _ = BaseImporter(artifacts, folders=(root,)).load(base, Watching())
    return load(weights.digest, artifacts)


def refusal(base: str, root: Path, kind: type[Exception] = BaseUnknown) -> str:
    artifacts = MemoryArtifacts()
    with pytest.raises(kind) as told:
        BaseImporter(artifacts, folders=(root,)).load(base, Watching())
    assert not artifacts.bytes_of
    return str(told.value)


@torch.no_grad()
def features(model: ClipModel, theirs: Any) -> list[tuple[Tensor, Tensor]]:
    """Ours and theirs, of images and of texts."""
    pixels = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    inputs = {"pixel_values": model.preprocess.normalise(pixels)}
    tokens = {"input_ids": model.tokenise(TEXTS)}
    images = theirs.get_image_features(**inputs).pooler_output
    texts = theirs.get_text_features(**tokens).pooler_output
    return [
        (model.encode_images(pixels), normalize(images)),
        (model.encode_texts(TEXTS), normalize(texts)),
    ]


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_a_clip_model_of_transformers_computes_the_same_features(
    activation: str, tmp_path: Path
) -> None:
    theirs = clip_folder(tmp_path / "clip", activation)
    ours = imported(str(tmp_path / "clip"), tmp_path)
    for mine, their in features(ours, theirs):
        torch.testing.assert_close(mine, their, rtol=0, atol=1e-6)
    assert ours.logit_scale == theirs.logit_scale
    assert ours.preprocess.settings.interpolation == "bicubic"


@pytest.mark.parametrize("kind", ["siglip", "siglip2"])
def test_a_siglip_model_of_transformers_computes_the_same_features(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    know_small_siglip(monkeypatch)
    theirs = siglip_folder(tmp_path / "siglip", kind)
    ours = imported(str(tmp_path / "siglip"), tmp_path)
    for mine, their in features(ours, theirs):
        torch.testing.assert_close(mine, their, rtol=0, atol=1e-6)
    assert ours.network.get_parameter("logit_bias") == theirs.logit_bias
    assert ours.preprocess.settings.resize_mode == "squash"
    assert ours.preprocess.settings.interpolation == "bilinear"


def test_parts_and_half_precision_and_old_buffers_are_read(tmp_path: Path) -> None:
    theirs = clip_folder(tmp_path / "clip")
    whole = load_file(tmp_path / "clip" / "model.safetensors")
    (tmp_path / "clip" / "model.safetensors").unlink()
    whole["text_model.embeddings.position_ids"] = torch.arange(16)[None]
    names = sorted(whole)
    for number, part in enumerate([names[:9], names[9:]], start=1):
        tensors = {name: whole[name].half() for name in part}
        save_file(tensors, tmp_path / "clip" / f"model-0000{number}-of-00002.safetensors")
    ours = imported(str(tmp_path / "clip"), tmp_path)
    mine = ours.network.get_parameter("visual.proj")
    assert torch.equal(mine, theirs.visual_projection.weight.T.half().float())
    (tmp_path / "clip" / "model-00001-of-00002.safetensors").unlink()
    assert "Of the 2 parts" in refusal(str(tmp_path / "clip"), tmp_path)


@pytest.mark.parametrize(
    ("file", "fields", "words"),
    [
        ("config.json", {"model_type": "blip"}, "model_type 'blip'"),
        ("config.json", {"model_type": "siglip2"}, "reads images in their own shapes"),
        ("config.json", {"vision_config__hidden_act": "gelu"}, "gelu and quick_gelu"),
        ("config.json", {"text_config__layer_norm_eps": 1e-6}, "layer_norm_eps 1e-06"),
        ("config.json", {"text_config__eos_token_id": 7}, "eos_token_id 7"),
        ("config.json", {"text_config__vocab_size": 50000}, "vocab_size 50000"),
        ("config.json", {"vision_config__num_hidden_layers": "2"}, "num_hidden_layers"),
        ("preprocessor_config.json", {"do_normalize": False}, "do_normalize False"),
        ("preprocessor_config.json", {"resample": 0}, "resample 0"),
        ("preprocessor_config.json", {"size": {"shortest_edge": 40}}, "size"),
        ("preprocessor_config.json", {"image_mean": [0.5]}, "image_mean"),
    ],
)
def test_what_open_clip_cannot_compute_exactly_is_named(
    file: str, fields: dict[str, Any], words: str, tmp_path: Path
) -> None:
    clip_folder(tmp_path / "clip")
    change(tmp_path / "clip" / file, **fields)
    assert words in refusal(str(tmp_path / "clip"), tmp_path, ModelNotTrainable)


def test_every_image_tower_of_siglip_is_one_of_timm() -> None:
    import timm

    for (*_, side), name in SIGLIP_TOWERS.items():
        known = timm.get_pretrained_cfg(name)
        assert known is not None
        assert known.input_size == (3, side, side)
    largest = {shape[:5]: name for shape, name in SIGLIP_TOWERS.items()}  # of each patch
    for (width, layers, heads, inner, patch), name in largest.items():
        with torch.device("meta"):
            tower: Any = timm.create_model(name, num_classes=0, weight_init="skip")
        assert (tower.embed_dim, len(tower.blocks)) == (width, layers)
        assert tower.attn_pool.num_heads == tower.blocks[0].attn.num_heads == heads
        assert tower.attn_pool.mlp.fc1.out_features == tower.blocks[0].mlp.fc1.out_features == inner
        assert tower.patch_embed.patch_size == (patch, patch)


def test_siglip_of_a_shape_that_timm_lacks_is_refused(tmp_path: Path) -> None:
    siglip_folder(tmp_path / "siglip")
    told = refusal(str(tmp_path / "siglip"), tmp_path, ModelNotTrainable)
    assert "no SigLIP image tower" in told
    assert "16, 2, 2, 40, 16, 32" in told


def test_a_clip_model_with_another_tokenizer_is_refused(tmp_path: Path) -> None:
    clip_folder(tmp_path / "clip")
    own = dict(ClipTokenizer(context_length=77).vocabulary)
    (tmp_path / "clip" / "vocab.json").write_text(json.dumps(own))
    imported(str(tmp_path / "clip"), tmp_path)
    own["cat</w>"], own["dog</w>"] = own["dog</w>"], own["cat</w>"]
    file = tmp_path / "clip" / "tokenizer.json"
    file.write_text(json.dumps({"model": {"vocab": own}}))
    assert "other tokens than CLIP's" in refusal(str(tmp_path / "clip"), tmp_path)


def test_a_folder_without_its_preprocessing_or_a_tensor_names_it(tmp_path: Path) -> None:
    clip_folder(tmp_path / "clip")
    file = tmp_path / "clip" / "model.safetensors"
    tensors = load_file(file)
    del tensors["visual_projection.weight"]
    save_file(tensors, file)
    assert "lack 1 tensors, such as 'visual_proj" in refusal(str(tmp_path / "clip"), tmp_path)
    (tmp_path / "clip" / "preprocessor_config.json").unlink()
    assert "has no preprocessor_config.json" in refusal(str(tmp_path / "clip"), tmp_path)


# Files of torch.


@pytest.mark.parametrize("kind", ["state", "checkpoint", "turned"])
def test_pickled_weights_beside_a_config_are_those_that_were_saved(
    kind: str, tmp_path: Path
) -> None:
    model = tiny_clip()
    state = model.network.state_dict()
    folder = folder_of(tmp_path / "base", model)
    (folder / "open_clip_model.safetensors").unlink()
    saved: Any = state
    if kind == "checkpoint":
        named = {f"module.{name}": tensor for name, tensor in state.items()}
        saved = {"epoch": 3, "name": "run", "state_dict": named, "optimizer": {"lr": 0.1}}
    elif kind == "turned":
        saved = {
            name: tensor.t().contiguous().t() if tensor.ndim == 2 else tensor
            for name, tensor in state.items()
        }
        saved["visual.proj"] = torch.nn.Parameter(torch.cat([state["visual.proj"]] * 2)[:16])
    torch.save(saved, folder / "epoch_3.pt")
    artifacts = MemoryArtifacts()
    weights, _ = BaseImporter(artifacts, folders=(tmp_path,)).load(str(folder), Watching())
    assert weights == stored(model, artifacts)


def test_a_file_takes_the_architecture_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_clip()
    settings = model.config["model_cfg"]
    monkeypatch.setattr(open_clip, "get_model_config", lambda name: copy.deepcopy(settings))
    torch.save(model.network.state_dict(), tmp_path / "mine.pt")
    ours = imported(f"ViT-H-14-378-quickgelu:{tmp_path}/mine.pt", tmp_path)
    assert torch.equal(ours.encode_texts(TEXTS), model.encode_texts(TEXTS))
    assert ours.preprocess.settings.resize_mode == "squash"  # as all its listed weights
    told = refusal(f"ViT-L-14:{tmp_path}/mine.pt", tmp_path)
    assert "2 ways: put an open_clip_config.json beside" in told
    assert "no file" in refusal(f"ViT-L-14:{tmp_path}/other.pt", tmp_path)
    assert "do not match" in refusal(f"ViT-L-14:{_with_openais(tmp_path, {})}", tmp_path)


def test_openais_archive_of_torchscript_has_its_activation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_clip()
    settings = model.config["model_cfg"]
    monkeypatch.setattr(open_clip, "get_model_config", lambda name: copy.deepcopy(settings))
    state = {name: tensor.half() for name, tensor in model.network.state_dict().items()}
    ours = imported(f"ViT-L-14:{_with_openais(tmp_path, state)}", tmp_path)
    assert ours.config["model_cfg"]["quick_gelu"] is True
    mine = ours.network.state_dict()
    assert mine.keys() == state.keys()
    assert all(torch.equal(tensor.half(), state[name]) for name, tensor in mine.items())


def _with_openais(root: Path, state: dict[str, Tensor]) -> Path:
    """Save an archive of TorchScript with a state's tensors, as OpenAI's are."""
    whole = torch.nn.Module()
    for name, tensor in state.items():
        *modules, last = name.split(".")
        inner = whole
        for one in modules:
            if not hasattr(inner, one):
                inner.add_module(one, torch.nn.Module())
            inner = inner.get_submodule(one)
        inner.register_parameter(last, torch.nn.Parameter(tensor, requires_grad=False))
    for name in ("input_resolution", "context_length", "vocab_size"):
        whole.register_buffer(name, torch.tensor(16))
    path = root / "openai.pt"
    torch.jit.save(torch.jit.script(whole), path)
    return path
