"""An image tower in two: what is below its top, and the top; see `core.registry.image_tops`."""

from typing import Any, cast

import torch
from torch import Tensor

from core.clip.model import ClipModel, normalised


def encode_below(model: ClipModel, pixels: Tensor) -> Tensor:
    """Return what an image tower makes of uint8 pixels (images, 3, height, width) below its top.

    Activations are (images, channels, height, width).
    """
    trunk = _trunk(model)
    inputs = model.preprocess.normalise(pixels.to(model.device))
    rows: Tensor = trunk.stem(inputs.contiguous(memory_format=torch.channels_last))
    for stage in trunk.stages[:-1]:
        rows = stage(rows)
    return rows


def encode_top(model: ClipModel, activations: Tensor) -> Tensor:
    """Return features (images, width) of what `encode_below` returned, or of the like."""
    trunk = _trunk(model)
    rows = trunk.stages[-1](activations.contiguous(memory_format=torch.channels_last))
    return normalised(cast("Any", model.visual).head(trunk.forward_head(trunk.norm_pre(rows))))


def _trunk(model: ClipModel) -> Any:
    return cast("Any", model.visual).trunk
