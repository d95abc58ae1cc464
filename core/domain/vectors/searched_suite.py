"""The images of suites and holdouts that a bridge is fitted on, and those that are searched."""

from collections.abc import Iterable
from dataclasses import dataclass

from core.domain.datasets.manifest import ManifestEntry
from core.domain.evaluation.query import EvalQuery
from core.errors import SuitesTooSmall

LEAST_FITTED = 16  # images that a bridge is fitted on
LEAST_SEARCHED = 2  # images of a suite's test part


@dataclass(frozen=True, kw_only=True)
class SearchedSuite:
    """A suite or holdout: a bridge is fitted on one part, and searches are made in the other."""

    name: str
    validation: EvalQuery | None
    test: EvalQuery | None


def images_to_fit(suites: Iterable[SearchedSuite]) -> tuple[ManifestEntry, ...]:
    """Return the images of validation parts that are in no test part, each once."""
    suites = tuple(suites)
    tested = {entry.pixels for suite in suites if suite.test for entry in suite.test.entries}
    found = {
        entry.pixels: entry
        for suite in suites
        if suite.validation
        for entry in suite.validation.entries
        if entry.pixels not in tested
    }
    return tuple(found.values())


def require_searchable(suites: Iterable[SearchedSuite]) -> None:
    """Raise SuitesTooSmall unless a bridge can be fitted, and searched with, on the suites."""
    suites = tuple(suites)
    fitted = len(images_to_fit(suites))
    searched = max((len(suite.test.entries) for suite in suites if suite.test), default=0)
    if fitted < LEAST_FITTED or searched < LEAST_SEARCHED:
        raise SuitesTooSmall(
            f"A bridge is fitted on at least {LEAST_FITTED} images of the validation parts of "
            f"suites and holdouts, where there are {fitted}, and needs one with {LEAST_SEARCHED} "
            f"test images, where the largest has {searched}.",
            validation_images=fitted,
            test_images=searched,
        )
