"""A minuscule random CLIP for tests: real architecture, real tokenizer, milliseconds."""

from __future__ import annotations

import copy
import functools
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from core.artifacts.store import Artifacts
from core.clip.model import ClipModel, empty_network, publish
from core.engines.rows import EngineChecks
from core.engines.rules import EngineCheck, Graphs
from core.platform import Platform
from core.registry.architecture import TOKENIZER
from core.registry.text_towers import TEXT_CONFIG, TEXT_CONFIG_FILE
from core.registry.versions import ServingPrecision, Weights
from core.values import Digest, Json
from tests.support.learning.tokenizers import DESCRIBED, trained, write_tokenizer

CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {
            "image_size": 16,
            "patch_size": 8,
            "width": 16,
            "head_width": 8,
            "layers": 1,
        },
        "text_cfg": {
            "context_length": 16,
            "vocab_size": 49408,
            "width": 8,
            "heads": 2,
            "layers": 2,
        },
    },
    "preprocess_cfg": {"interpolation": "bicubic", "resize_mode": "shortest"},
}


def tiny_config(**text_cfg: Any) -> dict[str, Any]:
    """The config, with changes to its text tower."""
    config = copy.deepcopy(CONFIG)
    config["model_cfg"]["text_cfg"].update(text_cfg)
    return config


def tiny_clip(seed: int = 0, config: dict[str, Any] | None = None) -> ClipModel:
    """A model whose weights depend on the seed alone."""
    config = config or tiny_config()
    network = copy.deepcopy(_network(seed, json.dumps(config)))  # faster than making it anew
    if kind := own_kind(config):
        held = torch.frombuffer(bytearray(trained(kind).encode()), dtype=torch.uint8)
        network.register_buffer(TOKENIZER, held)
    return ClipModel(network=network, config=config)


def own_kind(config: Json) -> str | None:
    """The kind of a config's own tokenizer, `test/KIND`, if it has one."""
    name = config["model_cfg"]["text_cfg"].get("hf_tokenizer_name")
    return name.removeprefix("test/") if name else None


def described(config: dict[str, Any]) -> dict[str, Any]:
    """The config of a version that was made of a config and its tokenizer."""
    if kind := own_kind(config):
        tokens = {"pad_token": "[PAD]", "sep_token": "[SEP]", **DESCRIBED[kind]}
        kept = {
            name: value["content"] if isinstance(value, dict) else value
            for name, value in tokens.items()
            if name in {"pad_token", "sep_token"}
        }
        if not config["model_cfg"]["text_cfg"].get("tokenizer_kwargs", {}).get("strip_sep_token"):
            del kept["sep_token"]
        length = config["model_cfg"]["text_cfg"]["context_length"]
        about = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": length}
        config["tokenizer_config"] = {**about, **kept}
    return config


def stored(model: ClipModel, artifacts: Artifacts) -> Weights:
    """A version of the model's config and weights."""
    return publish(model.config, model.network.state_dict(), artifacts, lambda done, total: None)


def folder_of(
    path: Path,
    model: ClipModel,
    dtype: torch.dtype = torch.float32,
    *,
    keep_tokenizer: bool = False,  # among the weights, where it does not belong
) -> Path:
    """A new folder of a model's config and weights, as open_clip saves them."""
    path.mkdir(parents=True)
    (path / "open_clip_config.json").write_text(json.dumps(model.config))
    state = {
        name: t.to(dtype)
        for name, t in model.network.state_dict().items()
        if name != TOKENIZER or keep_tokenizer
    }
    if kind := own_kind(model.config):
        write_tokenizer(path, kind)
    if sizes := model.config.get(TEXT_CONFIG):
        (path / TEXT_CONFIG_FILE).write_text(json.dumps(sizes))
    save_file(state, path / "open_clip_model.safetensors")
    return path


GRAPHS = Path(__file__).with_name("tiny_graphs.json")  # `write_graphs(tiny_clip()).to_bytes()`


def add_graphs(platform: Platform) -> None:
    """Have the graphs of the architecture, which take many seconds to export."""
    data = GRAPHS.read_bytes()
    graphs = platform.artifacts.put(data)
    check = EngineCheck(
        weights=Digest("0" * 64),
        architecture=Graphs.from_bytes(data).architecture,
        graphs=graphs,
        precision=ServingPrecision.FP32,
        engines={},
        problem=None,
        checked_at=platform.clock(),
    )
    with platform.transactions() as work:
        work[EngineChecks].put(check)
        work.commit()


@functools.cache
def _network(seed: int, config: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return empty_network(json.loads(config)).eval()
