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
from core.registry.versions import ServingPrecision, Weights
from core.values import Digest

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
    return ClipModel(network=network, config=config)


def stored(model: ClipModel, artifacts: Artifacts) -> Weights:
    """A version of the model's config and weights."""
    return publish(model.config, model.network.state_dict(), artifacts, lambda done, total: None)


def folder_of(path: Path, model: ClipModel, dtype: torch.dtype = torch.float32) -> Path:
    """A new folder of a model's config and weights, as open_clip saves them."""
    path.mkdir(parents=True)
    (path / "open_clip_config.json").write_text(json.dumps(model.config))
    state = {name: t.to(dtype) for name, t in model.network.state_dict().items()}
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
