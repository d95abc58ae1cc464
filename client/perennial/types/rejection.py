"""Thresholds for "none of these", and how often they err. Rates are fractions of 1."""

from typing import Literal, NotRequired, TypedDict

Statistic = Literal["max_cosine", "max_softmax", "margin"]


class ErrorRate(TypedDict):
    """A measured rate with its 95 % interval over images."""

    rate: float
    lower: float
    upper: float
    images: int


class Threshold(TypedDict):
    """A threshold chosen on validation images, and its error rates on test images."""

    rate: float  # the false-rejection rate that it was chosen for
    threshold: float
    false_rejection: ErrorRate
    false_acceptance: ErrorRate


class ListCalibration(TypedDict):
    """The thresholds for class lists of one length."""

    size: int
    statistic: Statistic
    auroc: float
    thresholds: list[Threshold]


class SourceCalibration(TypedDict):
    """The thresholds of a suite, of all updates' holdouts, or of all of these together."""

    name: str
    classes: list[str]
    prompt: str | None
    lists: list[ListCalibration]


class Calibration(TypedDict):
    """A version's thresholds; without a source it had too few images."""

    sources: NotRequired[list[SourceCalibration]]
