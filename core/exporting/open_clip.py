"""The folder that open_clip loads, which `write_folder` writes."""

from pathlib import Path

import open_clip
import torch
from PIL import Image
from torch import Tensor

from core.exporting.onnx import Towers


def load_open_clip(folder: Path) -> Towers:
    """Load a folder as its users do."""
    name = f"local-dir:{folder.absolute()}"
    network, _, preprocess = open_clip.create_model_and_transforms(name)
    tokenizer = open_clip.get_tokenizer(name)
    network.eval()

    def images(batch: list[Image.Image]) -> Tensor:
        features: Tensor = network.encode_image(torch.stack([preprocess(one) for one in batch]))
        return features

    def texts(batch: list[str]) -> Tensor:
        features: Tensor = network.encode_text(tokenizer(batch))
        return features

    return Towers(images=images, texts=texts)
