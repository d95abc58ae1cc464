"""The first passes of a version, before anybody waits for them."""

import torch

from core.clip.model import ClipModel
from core.inference_limits import MAX_IMAGES
from worker.inference.traced_model import Traces


def prepare(model: ClipModel, traces: Traces) -> ClipModel:
    """Return a version as it is served, warmed up."""
    served = traces.apply(model)
    warm_up(served)
    return served


def warm_up(model: ClipModel) -> None:
    """Run both towers once, which loads the tokenizer and prepares the device's kernels.

    A GPU has kernels of its own for each size of a batch: there, each power of two is run.
    """
    height, width = model.preprocess.size
    with torch.inference_mode():
        model.encode_texts(["a"])
        for images in _sizes(model.device):
            model.encode_images(torch.zeros(images, 3, height, width, dtype=torch.uint8))


def _sizes(device: torch.device) -> list[int]:
    return [1] if device.type == "cpu" else [2**n for n in range(MAX_IMAGES.bit_length())]
