"""The small CLIP as an open_clip model, built from the config in this folder, and its export."""

import functools
import json
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

HERE = Path(__file__).parent
CONTEXT = 32
END = 49407
WEIGHTS = "open_clip_model.safetensors"
CONFIG = "open_clip_config.json"


def build() -> nn.Module:
    """Build the model with freshly initialised weights."""
    config = json.loads((HERE / CONFIG).read_text())["model_cfg"]
    text, vision = open_clip.CLIPTextCfg(**config["text_cfg"]), config["vision_cfg"]
    model: nn.Module = open_clip.CLIP(
        embed_dim=config["embed_dim"],
        vision_cfg=open_clip.CLIPVisionCfg(**vision),
        text_cfg=text,
    )
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


@functools.cache
def tokenizer() -> SimpleTokenizer:
    """Return open_clip's tokenizer with the config's context length, built once as that is slow."""
    return SimpleTokenizer(context_length=CONTEXT)


def tokens_of(texts: Sequence[str]) -> Tensor:
    """Tokenise texts as ids (texts, longest), truncated after the longest sentence.

    The text tower is causal, so the padding has no effect.
    """
    tokens: Tensor = tokenizer()(list(texts))
    longest = int(tokens.argmax(1).max()) + 1
    return tokens[:, :longest]


def encode_tokens(model: Any, tokens: Tensor) -> Tensor:
    """Encode tokens as unit vectors (texts, dimensions), without padding to the full context."""
    length = tokens.shape[1]
    hidden = model.token_embedding(tokens) + model.positional_embedding[:length]
    hidden = model.transformer(hidden, attn_mask=model.attn_mask[:length, :length])
    last = hidden[torch.arange(len(tokens)), tokens.argmax(1)]
    return F.normalize((model.ln_final(last) @ model.text_projection).float(), dim=-1)


def compiled(tower: nn.Module, example: Tensor) -> Any:
    """Compile a tower for batches like `example`; return it unchanged if that fails."""
    fast = torch.compile(tower)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            fast(example).float().sum().backward()
    except Exception as reason:  # noqa: BLE001 - all failures of the compiler are handled alike
        warnings.warn(f"not compiled: {reason}", stacklevel=2)
        return tower
    finally:
        tower.zero_grad(set_to_none=True)
    return fast


def export(weights: dict[str, Tensor], folder: Path) -> None:
    """Write a folder that open_clip loads as `local-dir:`, with weights in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    half = {
        name: value.detach().half().contiguous(memory_format=torch.contiguous_format)
        for name, value in weights.items()
    }
    partial = folder / f"{WEIGHTS}.part"
    save_file(half, partial, metadata={"format": "pt"})
    partial.chmod(0o644)
    partial.replace(folder / WEIGHTS)
    if folder.resolve() != HERE.resolve():
        shutil.copyfile(HERE / CONFIG, folder / CONFIG)
