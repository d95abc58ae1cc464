"""The check that a model's towers work at all."""

import torch
from torch import nn

from core.clip.model import ClipModel
from core.domain.values import Json
from core.errors import ModelNotTrainable


@torch.no_grad()
def require_features(config: Json, network: nn.Module) -> None:
    """Raise ModelNotTrainable unless both towers return one finite vector per input, equally wide.

    The rules on configs cover open_clip's own towers only; this check runs any tower.
    """
    model = ClipModel(network=network.eval(), config=config)
    try:
        height, width = model.preprocess.size
        image = model.encode_images(torch.zeros(1, 3, height, width, dtype=torch.uint8))
        text = model.encode_texts(["a photo"])
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise ModelNotTrainable(f"The towers cannot encode an image and a text: {error}") from error
    if image.ndim != 2 or image.shape != text.shape:
        shapes = f"{tuple(image.shape)} for an image and {tuple(text.shape)} for a text"
        raise ModelNotTrainable(f"The towers' features have different shapes: {shapes}.")
    if not torch.stack([image, text]).isfinite().all():
        raise ModelNotTrainable("The towers' features contain NaN or infinity.")
