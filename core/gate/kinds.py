"""Kinds of comparison: the baselines, the lists of classes, and the outcomes."""

from enum import StrEnum


class MeasureKind(StrEnum):
    """The kinds of comparison."""

    ZERO_SHOT = "zero_shot"  # top-1 on a suite
    IMAGE_TO_TEXT = "image_to_text"  # recall on a suite, or on another update's holdout
    TEXT_TO_IMAGE = "text_to_image"  # likewise
    HOLDOUT = "holdout"  # top-1 on another update's holdout
    HOLDOUTS = "holdouts"  # top-1 on several such holdouts, together
    GAIN = "gain"  # top-1 on this update's own holdout; of captions, recall both ways together


DIRECTIONS = (MeasureKind.IMAGE_TO_TEXT, MeasureKind.TEXT_TO_IMAGE)
SUITES = {MeasureKind.ZERO_SHOT, *DIRECTIONS}
DEPTHS = (1, 5)  # recall of captions is measured at R@1 and R@5

# The roles of baselines: what each is to the candidate.
PARENT, LIVE, ROOT, SETTLED = "parent", "live version", "root", "settled version"


class ClassList(StrEnum):
    """The list of classes that the versions choose from."""

    OWN = "own"  # of the suite, or what was known when the update was learned: what is forgotten?
    UNION = "union"  # these and all that the candidate has learned: what do newer ones swallow?
    WITH_SUITES = "with_suites"  # and those of zero-shot suites, too: what do all swallow together?
    DEFAULT = "default"  # what each version has learned itself: what do callers get who send none?
    LEARNED = "learned"  # all that the candidate has learned, no suite's: what is lost there?

    @property
    def shorter(self) -> "ClassList":
        """The list before it, to which it may add classes."""
        return ClassList.UNION if self is ClassList.WITH_SUITES else ClassList.OWN


class Outcome(StrEnum):
    """The outcome of one measure."""

    HOLDS = "holds"
    FAILS = "fails"
    OPEN = "open"  # neither holds nor fails
