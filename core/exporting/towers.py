"""The towers of a model as formats share them: features, example inputs, and their description."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize

from core.clip.inputs import text_features
from core.clip.model import ClipModel
from core.engines import tokens
from core.engines.tokens import ClipTokenizer, OwnTokenizer
from core.registry.architecture import TOKENIZER_FILE
from core.values import Json

MODEL_FILE = "model.json"


@dataclass(frozen=True, kw_only=True)
class Towers:
    """Both towers with their preprocessing; features are rows, normalised or not."""

    images: Callable[[list[Image.Image]], Tensor]
    texts: Callable[[list[str]], Tensor]


# The towers to write, each a module from prepared inputs to normalised features.


def towers_of(model: ClipModel) -> tuple[tuple[nn.Module, Tensor], tuple[nn.Module, Tensor]]:
    """Return the image tower and the text tower, each with a batch of two to trace it with.

    Their features are L2-normalised rows.
    """
    height, width = model.preprocess.size
    pixels = torch.zeros(2, 3, height, width)
    rows = model.tokenise(["a photo", "a drawing of two trees"])
    image = _Tower(model.network, model.network.encode_image).eval()  # type: ignore[arg-type]
    text = _Tower(model.network, partial(text_features, model.network)).eval()
    return (image, pixels), (text, rows)


class _Tower(nn.Module):
    """One tower of a network, with normalised features."""

    def __init__(self, network: nn.Module, encode: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._network = network
        self._encode = encode

    def forward(self, batch: Tensor) -> Tensor:
        return normalize(self._encode(batch), dim=-1)


# The files beside the towers: what their inputs are, and the vocabulary.


def write_inputs(model: ClipModel, folder: Path) -> None:
    """Write the vocabulary, and `model.json`: the towers' inputs, and the scale of similarities."""
    tokenizer, settings = model.tokenizer, model.preprocess.settings
    frame, text = tokenizer.frame, dict[str, Any]()
    if isinstance(tokenizer, ClipTokenizer):
        write_vocabulary(tokenizer, folder)
        text = {"start_token": frame.before[0], "end_token": frame.end}
    if isinstance(tokenizer, OwnTokenizer):
        (folder / TOKENIZER_FILE).write_bytes(model.tokenizer_file or b"")
        text = {"clean": tokenizer.clean, "before": [*frame.before], "after": [*frame.after]}
    described = {
        "image": {
            "size": list(model.preprocess.size),
            "mean": list(settings.mean),
            "std": list(settings.std),
            "interpolation": settings.interpolation,
            "resize_mode": settings.resize_mode,
            "fill_color": settings.fill_color,
        },
        "text": {
            "context_length": model.context_length,
            **text,
            "padding": frame.padding,
        },
        "scale": round(float(model.scale.detach()), 6),
    }
    write_json(folder / MODEL_FILE, described)


def write_json(path: Path, value: Json) -> None:
    """Write a JSON value to a file."""
    path.write_text(json.dumps(value, indent=2) + "\n")


START, END = "<|startoftext|>", "<|endoftext|>"  # as the field writes them; open_clip's differ


def write_vocabulary(tokenizer: ClipTokenizer, folder: Path) -> None:
    """Write `vocab.json`, from tokens to ids, and `merges.txt`, in the order of their ranks."""
    ids = dict(tokenizer.vocabulary)
    ids[START], ids[END] = ids.pop(tokens.START), ids.pop(tokens.END)
    merges = [" ".join(pair) for pair in tokenizer.merges]
    (folder / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False), encoding="utf-8")
    lines = "\n".join(["#version: 0.2", *merges])
    (folder / "merges.txt").write_text(lines + "\n", encoding="utf-8")
