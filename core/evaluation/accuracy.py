"""Zero-shot predictions."""

import torch
from torch import Tensor

BLOCK = 1024  # images scored at a time


def predict(images: Tensor, classes: Tensor) -> tuple[int, ...]:
    """Return the index of the most similar class for each image; ties go to the lower index.

    If a similarity is NaN, no class is the most similar and the index is one past the last.
    `images` is (images, width) and `classes` (classes, width), both L2-normalised.
    """
    columns = torch.arange(len(classes), device=classes.device)  # (classes,)
    predicted: list[int] = []
    for block in torch.split(images, BLOCK):
        scores = block @ classes.T  # (block, classes)
        best = scores == scores.amax(dim=1, keepdim=True)
        predicted += torch.where(best, columns, len(classes)).amin(dim=1).tolist()
    return tuple(predicted)
