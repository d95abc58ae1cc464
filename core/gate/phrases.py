"""The phrases that sentences about measures are made of."""

from core.gate.changes import Ungained, Untaught
from core.gate.classes import ClassLoss
from core.gate.kinds import SETTLED, SUITES, ClassList, MeasureKind
from core.gate.measures import Measure
from core.values import counted

_SUBJECT = {
    MeasureKind.ZERO_SHOT: "top-1 on {name}",
    MeasureKind.IMAGE_TO_TEXT: "image-to-text R@{depth} on {place}",
    MeasureKind.TEXT_TO_IMAGE: "text-to-image R@{depth} on {place}",
    MeasureKind.HOLDOUT: "top-1 on the holdout of {name}",
    MeasureKind.HOLDOUTS: "top-1 on the pooled holdouts of {name}",
    MeasureKind.GAIN: "top-1 on this update's own holdout",
}
_CAPTIONS_GAINED = "R@{depth}, both ways together, on this update's own holdout"
OWN_PROMPTS = "each version in its own prompt"


def subject(measure: Measure) -> str:
    """Return what a measure compares, such as "top-1 on emoji against the root"."""
    about = _CAPTIONS_GAINED if measure.both_directions else _SUBJECT[measure.kind]
    about = about.format(name=measure.name, place=measure.place, depth=measure.depth)
    if measure.formerly_right:
        about = f"negative flips in {about}"
    if measure.asked is not ClassList.OWN:
        about = f"{about}, {among(measure)},"
    if measure.own_prompts:
        about = f"{about.removesuffix(',')}, {OWN_PROMPTS},"
    return f"{about} against {the_baseline(measure)}"


def among(measure: Measure) -> str:
    """Return what the versions chose from: "with all 10 classes to choose from"."""
    if measure.is_of_captions:
        return "with all suites' and holdouts' images in the gallery"
    if measure.asked is ClassList.DEFAULT:
        return "each version with all classes that it has learned to choose from"
    if measure.asked is ClassList.LEARNED:
        return f"with the {measure.classes or 0:,} learned classes alone to choose from"
    count = "learned" if measure.classes is None else f"{measure.classes:,}"
    suites = ", those of suites included" if measure.asked is ClassList.WITH_SUITES else ""
    return f"with all {count} classes to choose from{suites}"


def points(fraction: float, *, signed: bool = True) -> str:
    """Format a fraction as percentage points: 0.031 is "+3.1"."""
    text = f"{100 * fraction:{'+' if signed else ''}.1f}"
    return {"-0.0": "0.0", "+0.0": "0.0"}.get(text, text).replace("-", "−")


def the_baseline(measure: Measure | ClassLoss) -> str:
    """Return what a measure compares with, in a sentence: "the parent and root"."""
    return f"the {numbered_baseline(measure)}"


def numbered_baseline(measure: Measure | ClassLoss) -> str:
    """Return what a measure compares with; of a suite's settled versions, which of them."""
    if measure.kind not in SUITES or measure.baseline != SETTLED:
        return measure.baseline
    number = measure.baseline_version
    return f"{SETTLED}s" if number is None else f"{SETTLED} {number}"


def capital(text: str) -> str:
    """Return a text with a capital first letter, as a sentence begins."""
    return text[:1].upper() + text[1:]


def change(measure: Measure) -> str:
    """Return how a measure changed, with its interval and the bound that decides."""
    if measure.formerly_right:
        decided = points(-measure.lower, signed=False) if measure.decides_apart else ""
        return (
            f"{capital(subject(measure))}: {points(-measure.difference, signed=False)} % of the "
            f"answers that were right are wrong now (interval "
            f"{points(max(0.0, -measure.upper), signed=False)} to "
            f"{points(-measure.interval_lower, signed=False)} %"
            f"{decided and f', decided by {decided}'})"
        )
    between = f"interval {points(measure.interval_lower)} to {points(measure.upper)}"
    if measure.decides_apart:
        between = f"{between}, decided by {points(measure.lower)}{_viewed(measure)}"
    return f"{capital(subject(measure))} changed by {points(measure.difference)} points ({between})"


def _viewed(measure: Measure) -> str:
    if measure.soft is None or not measure.holds_by_views:
        return ""
    return f" over each image and {counted(measure.soft.views, 'view')} of it"


def limit(measure: Measure) -> str:
    """Return what a measure may lose or has to gain: "the allowed loss of 3.0 points"."""
    if measure.kind is MeasureKind.GAIN:
        return f"the wanted gain of {points(-measure.tolerance, signed=False)} points"
    if measure.formerly_right:
        return f"the allowed {points(measure.tolerance, signed=False)} %"
    return f"the allowed loss of {points(measure.tolerance, signed=False)} points"


def images_apart(others: Untaught | Ungained) -> str:
    """Return of which images a measure tells: "the 1,500 images of the other 30 classes"."""
    images = counted(others.distinct, "image")
    if isinstance(others, Ungained) and others.edition is not None:
        shown = class_count(others.classes)
        return (
            f"the {images} that edition {others.edition} had of {shown} which no update since has "
            "improved"
        )
    if isinstance(others, Ungained):
        return f"the {images} of {class_count(others.classes)} whose other images show no gain"
    shown = "class" if others.classes == 1 else class_count(others.classes)
    return f"the {images} of the other {shown}, which no update since has improved"


def class_count(number: int) -> str:
    """Return a number of classes: "one class" or "30 classes"."""
    return "one class" if number == 1 else f"{number:,} classes"
