"""Folders with the models that are served."""

import json
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file

from core.clip.bases.pretrained_folder import read_folder
from core.clip.model import ClipModel
from core.exporting.huggingface_folder import write_huggingface

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


def write_huggingface_of(source: Path, folder: Path) -> None:
    """Write the model of an open_clip folder as transformers reads it."""
    config, network = read_folder(source)
    folder.mkdir(parents=True)
    write_huggingface(ClipModel.build(config, network.state_dict(), torch.device("cpu")), folder)
