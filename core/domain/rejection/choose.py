"""Choose the calibration that fits a request to classify."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

from core.domain.recipes.prompt import PromptTemplate
from core.domain.rejection.calibration import (
    Calibration,
    ListCalibration,
    SourceCalibration,
    Threshold,
)
from core.errors import FieldInvalid, NotCalibrated

FAR = 2.0  # times as many classes, or half as many, as the lists that were calibrated


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The threshold for a request, and where it comes from."""

    source: SourceCalibration
    covered: bool  # whether the source has the request's classes and prompt
    calibration: ListCalibration
    threshold: Threshold


def choose(
    calibration: Calibration, classes: Sequence[str], prompts: Sequence[str], rate: float
) -> Chosen:
    """Return the threshold for class lists as long as this one, at a false-rejection rate.

    `prompts` are those of the classes, one each, or several. The threshold is that of the first
    source that has all the classes, with the same prompt, or else of all sources together. Raises
    NotCalibrated, and FieldInvalid for a list or a rate that no threshold was chosen for.
    """
    if not calibration.sources:
        raise NotCalibrated(
            "The version's suites and holdouts had too few images for a threshold: each needs "
            "10 or more validation images and test images. Add images or a zero-shot suite, and "
            "evaluate the version again."
        )
    covering = (source for source in calibration.sources if _covers(source, classes, prompts))
    source = next(covering, None)
    covered = source is not None
    source = source or calibration.sources[-1]
    found = _nearest(source, len(classes))
    threshold = next((one for one in found.thresholds if one.rate == rate), None)
    if threshold is None:
        known = ", ".join(f"{one.rate:g}" for one in found.thresholds) or "none"
        raise FieldInvalid(
            f"No threshold was chosen for the false-rejection rate {rate:g}. For a list of "
            f"{len(classes):,} classes there are: {known}. A rate of 0.01 needs 99 validation "
            "images.",
            pointer="/none_of_these",
        )
    return Chosen(source=source, covered=covered, calibration=found, threshold=threshold)


def _covers(source: SourceCalibration, classes: Sequence[str], prompts: Sequence[str]) -> bool:
    if source.prompt is None:
        return False
    known = {name.lower() for name in source.classes}
    own = PromptTemplate(source.prompt).fill_all(classes)
    return own == tuple(prompts) and all(name.lower() in known for name in classes)


def _nearest(source: SourceCalibration, count: int) -> ListCalibration:
    found = min(source.lists, key=lambda one: abs(log(one.size / count)))
    if max(found.size / count, count / found.size) > FAR:
        sizes = [one.size for one in source.lists]
        raise FieldInvalid(
            f"The thresholds are for lists of {sizes[0]:,} to {sizes[-1]:,} classes; this one has "
            f"{count:,}.",
            pointer="/classes",
        )
    return found
