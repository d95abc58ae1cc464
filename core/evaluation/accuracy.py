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


def probabilities(
    images: Tensor, classes: Tensor, predicted: tuple[int, ...], scale: float
) -> tuple[float, ...]:
    """Return the probability of the class predicted for each image, to four digits.

    It is that of softmax over all classes, of scores times `scale`; 0 without a class. Shapes are
    those of `predict`.
    """
    found: list[float] = []
    blocks = zip(
        torch.split(images, BLOCK), torch.split(torch.tensor(predicted), BLOCK), strict=True
    )
    for block, chosen in blocks:
        shares = (scale * (block @ classes.T)).softmax(dim=1)  # (block, classes)
        column = chosen.to(shares.device).clamp(max=len(classes) - 1)[:, None]
        share = shares.gather(1, column)[:, 0].nan_to_num()
        found += torch.where(chosen.to(shares.device) < len(classes), share, 0.0).tolist()
    return tuple(round(share, 4) for share in found)
