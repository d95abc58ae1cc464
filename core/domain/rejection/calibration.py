"""Thresholds below which an image shows none of the given classes, with their error rates."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from core.domain.values import Json

RATES = (0.01, 0.05, 0.1)  # false-rejection rates that thresholds are chosen for
DEFAULT_RATE = 0.05
LEARNED = "learned classes"  # the source of all updates' holdouts; no suite's name has a blank
POOLED = "all sources"


class Statistic(StrEnum):
    """A statistic to compare with a threshold; an image below it shows none of the classes.

    With c1 >= c2 >= ... the cosines of the image with the classes and s the model's logit scale:
    c1; the greatest softmax of s c (Ming et al., arXiv 2211.13445); c1 - c2.
    """

    MAX_COSINE = "max_cosine"
    MAX_SOFTMAX = "max_softmax"
    MARGIN = "margin"

    def of(self, cosines: Sequence[float], probability: float) -> float:
        """Return the value of an image: `cosines` are the greatest two, `probability` the first.

        A list of one class has one cosine, and only `max_cosine`.
        """
        match self:
            case Statistic.MAX_COSINE:
                return cosines[0]
            case Statistic.MAX_SOFTMAX:
                return probability
        return cosines[0] - cosines[1]


@dataclass(frozen=True, kw_only=True)
class ErrorRate:
    """A measured rate with its 95 % interval over images."""

    rate: float
    lower: float
    upper: float
    images: int  # distinct ones; each counts once for every class list


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A threshold chosen on validation images, and its error rates on test images."""

    rate: float  # the false-rejection rate that it was chosen for
    threshold: float
    false_rejection: ErrorRate  # images of a class of the list that are below
    false_acceptance: ErrorRate  # images of no class of the list that are not


@dataclass(frozen=True, kw_only=True)
class ListCalibration:
    """The calibration for class lists of one length."""

    size: int  # classes in a list
    statistic: Statistic  # the one with the greatest AUROC on validation images
    auroc: float  # on test images
    thresholds: tuple[Threshold, ...]


@dataclass(frozen=True, kw_only=True)
class SourceCalibration:
    """The calibration on a suite, on all updates' holdouts, or on all of these together."""

    name: str
    classes: tuple[str, ...]  # those the class lists are drawn from; none if it is pooled
    prompt: str | None
    lists: tuple[ListCalibration, ...]  # by length, shortest first


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A version's thresholds; without a source it had too few images."""

    sources: tuple[SourceCalibration, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON, for storage."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Json) -> "Calibration":
        """Return the calibration that `to_json` wrote."""
        return cls(sources=tuple(map(_source, value["sources"])))


def _source(value: Mapping[str, Any]) -> SourceCalibration:
    lists = tuple(map(_list, value["lists"]))
    return SourceCalibration(**{**value, "classes": tuple(value["classes"]), "lists": lists})


def _list(value: Mapping[str, Any]) -> ListCalibration:
    thresholds = tuple(map(_threshold, value["thresholds"]))
    statistic = Statistic(value["statistic"])
    return ListCalibration(**{**value, "statistic": statistic, "thresholds": thresholds})


def _threshold(value: Mapping[str, Any]) -> Threshold:
    measured = ("false_rejection", "false_acceptance")
    return Threshold(**{**value, **{name: ErrorRate(**value[name]) for name in measured}})
