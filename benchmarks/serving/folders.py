"""Folders with the models that are served, as open_clip reads them."""

import json
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file

BUNDLED = Path(__file__).parents[2] / "models" / "tiny"


def write_random(folder: Path, name: str) -> None:
    """Write an architecture of open_clip's with random weights."""
    torch.manual_seed(0)
    network = open_clip.create_model(name)
    config = {"model_cfg": open_clip.get_model_config(name), "preprocess_cfg": {}}
    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    state = {key: tensor.contiguous() for key, tensor in network.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
