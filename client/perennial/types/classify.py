"""Classification."""

from typing import NotRequired, TypedDict

from perennial.types.datasets import ReceiptError

# A class and its probability among the given classes.
Prediction = TypedDict("Prediction", {"class": str, "probability": float})


class ImageAnswer(TypedDict):
    """The predictions for an image, most probable first, or why it could not be classified."""

    file: str
    predictions: list[Prediction]
    error: NotRequired[ReceiptError | None]


class Classify(TypedDict):
    """The results in the order the images were sent, and the version that classified them."""

    model: str
    version: int
    digest: str
    data: list[ImageAnswer]
