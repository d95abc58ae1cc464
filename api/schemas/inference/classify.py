"""Schemas of classification."""

from pydantic import Field

from api.schemas.common import ResponseModel
from api.schemas.datasets.datasets import ReceiptError
from core.domain.rejection.calibration import ErrorRate, Statistic
from core.domain.rejection.choose import Chosen
from core.domain.trials.trial import Arm, TrialMode


class Prediction(ResponseModel):
    """A class and its probability among the given classes."""

    name: str = Field(alias="class", examples=["ankle boot"])
    probability: float = Field(examples=[0.91])


class ImageAnswer(ResponseModel):
    """The predictions for an image, most probable first, or why it could not be classified."""

    file: str = Field(examples=["boot-1.jpg"])
    predictions: list[Prediction]
    none_of_these: bool | None = Field(
        None, description="Whether the image shows none of the classes; null unless it was asked."
    )
    score: float | None = Field(
        None, description="The image's statistic, which is compared with the threshold."
    )
    error: ReceiptError | None = None
    prediction: str | None = Field(
        None,
        examples=["pred_0199c0d1e2f3a4b5c6d7e8f9"],
        description="While a trial runs: what a label is sent back for.",
    )


class TrialAnswer(ResponseModel):
    """The trial that the alias has, and which of its two versions answered."""

    id: str = Field(examples=["trial_0199c0d1e2f3a4b5c6d7e8f9"])
    mode: TrialMode
    arm: Arm


class NoneOfThese(ResponseModel):
    """The threshold below which an image shows none of the classes, and its error rates."""

    false_rejection_rate: float = Field(examples=[0.05], description="The rate asked for.")
    statistic: Statistic
    threshold: float = Field(examples=[0.031])
    auroc: float = Field(examples=[0.87])
    source: str = Field(
        examples=["learned classes"],
        description="Whose images the threshold was chosen on: a suite's, the updates' holdouts, "
        "or those of all sources.",
    )
    covered: bool = Field(
        description="Whether the source has all the classes, with the same prompt. If not, the "
        "rates are those of other classes."
    )
    list_size: int = Field(
        examples=[10], description="The number of classes for which the rates were measured."
    )
    false_rejection: ErrorRate = Field(
        description="Test images of a class of the list that are below the threshold."
    )
    false_acceptance: ErrorRate = Field(
        description="Test images of no class of the list that are not below the threshold."
    )

    @classmethod
    def of(cls, chosen: Chosen) -> "NoneOfThese":
        """Return the view of a threshold."""
        calibration, threshold = chosen.calibration, chosen.threshold
        return cls(
            false_rejection_rate=threshold.rate,
            statistic=calibration.statistic,
            threshold=threshold.threshold,
            auroc=calibration.auroc,
            source=chosen.source.name,
            covered=chosen.covered,
            list_size=calibration.size,
            false_rejection=threshold.false_rejection,
            false_acceptance=threshold.false_acceptance,
        )


class ClassifyView(ResponseModel):
    """The results in the order the images were sent, and the version that classified them."""

    model: str
    version: int
    digest: str
    none_of_these: NoneOfThese | None = Field(None, description="Null unless it was asked.")
    data: list[ImageAnswer]
    trial: TrialAnswer | None = None
