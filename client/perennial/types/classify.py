"""Classification."""

from typing import NotRequired, TypedDict

from perennial.types.datasets import ReceiptError
from perennial.types.rejection import ErrorRate, Statistic
from perennial.types.trials import TrialAnswer

# A class and its probability among the given classes.
Prediction = TypedDict("Prediction", {"class": str, "probability": float})


class NoneOfThese(TypedDict):
    """The threshold below which an image shows none of the classes, and its error rates."""

    false_rejection_rate: float
    statistic: Statistic
    threshold: float
    auroc: float
    source: str
    covered: bool  # whether the source has all the classes, with the same prompt
    list_size: int  # the number of classes for which the rates were measured
    false_rejection: ErrorRate
    false_acceptance: ErrorRate


class ImageAnswer(TypedDict):
    """The predictions for an image, most probable first, or why it could not be classified."""

    file: str
    predictions: list[Prediction]
    none_of_these: NotRequired[bool | None]  # None unless it was asked
    score: NotRequired[float | None]  # compared with the threshold
    error: NotRequired[ReceiptError | None]
    prediction: NotRequired[str | None]  # in a trial: what a label is sent back for


class Classify(TypedDict):
    """The results in the order the images were sent, and the version that classified them."""

    model: str
    version: int
    digest: str
    none_of_these: NotRequired[NoneOfThese | None]
    data: list[ImageAnswer]
    trial: NotRequired[TrialAnswer | None]
