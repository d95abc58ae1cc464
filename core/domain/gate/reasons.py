"""The sentences that explain the gate's verdict."""

from collections.abc import Sequence

from core.domain.gate.measure import Measure, MeasureKind, Outcome, Ruling
from core.domain.values import counted

_SUBJECT = {
    MeasureKind.ZERO_SHOT: "top-1 on {name}",
    MeasureKind.IMAGE_TO_TEXT: "image-to-text R@1 on {name}",
    MeasureKind.TEXT_TO_IMAGE: "text-to-image R@1 on {name}",
    MeasureKind.HOLDOUT: "top-1 on the holdout of {name}",
    MeasureKind.HOLDOUTS: "top-1 on the pooled holdouts of {name}",
    MeasureKind.GAIN: "top-1 on this update's own holdout",
}


def subject(measure: Measure) -> str:
    """Return what a measure compares, such as "top-1 on emoji against the root"."""
    about = _SUBJECT[measure.kind].format(name=measure.name)
    if measure.formerly_right:
        about = f"negative flips in {about}"
    return f"{about} against {_the(measure.baseline)}"


def points(fraction: float, *, signed: bool = True) -> str:
    """Format a fraction as percentage points: 0.031 is "+3.1"."""
    text = f"{100 * fraction:{'+' if signed else ''}.1f}"
    return {"-0.0": "0.0", "+0.0": "0.0"}.get(text, text).replace("-", "−")


def explain(
    rulings: Sequence[Ruling],
    *,
    passed: bool,
    guarded: int,
    has_gain: bool,
    minimum_count: int,
    worn_out: Sequence[Measure] = (),
) -> tuple[str, ...]:
    """Return the reasons for the verdict, the decisive ones first."""
    lines = [_failing(r.measure) for r in rulings if r.outcome is Outcome.FAILS]
    if passed:
        lines.append(_passing(rulings, guarded))
    if not guarded:
        lines.append(
            "No measure guards this model: it has no suite or earlier holdout with at least "
            f"{counted(minimum_count, 'test image')}, so no version is promoted automatically."
        )
    if not has_gain:
        lines.append(
            "This update's own holdout has no test images, so there is no evidence that it "
            "learned its classes."
        )
    lines += [_open(r) for r in rulings if r.outcome is Outcome.OPEN]
    lines += {measure.name: _worn_out(measure) for measure in worn_out}.values()
    advisory = [r.measure for r in rulings if r.outcome is Outcome.ADVISORY]
    if advisory:
        lines.append(_advisory(advisory, minimum_count))
    return tuple(lines)


def _the(baseline: str) -> str:
    return baseline if baseline.startswith("version ") else f"the {baseline}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _change(measure: Measure) -> str:
    if measure.formerly_right:
        return (
            f"{_capital(subject(measure))}: {points(-measure.difference, signed=False)} % of the "
            f"answers that were right are wrong now (interval "
            f"{points(-measure.upper, signed=False)} to {points(-measure.lower, signed=False)} %)"
        )
    return (
        f"{_capital(subject(measure))} changed by {points(measure.difference)} points "
        f"(interval {points(measure.lower)} to {points(measure.upper)})"
    )


def _limit(measure: Measure) -> str:
    if measure.kind is MeasureKind.GAIN:
        return f"the wanted gain of {points(-measure.tolerance, signed=False)} points"
    if measure.formerly_right:
        return f"the allowed {points(measure.tolerance, signed=False)} %"
    return f"the allowed loss of {points(measure.tolerance, signed=False)} points"


def _failing(measure: Measure) -> str:
    if measure.kind is MeasureKind.GAIN:
        return f"{_change(measure)}, significantly less than {_limit(measure)}."
    return f"{_change(measure)}, significantly more than {_limit(measure)}."


def _passing(rulings: Sequence[Ruling], guarded: int) -> str:
    gain = next(ruling.measure for ruling in rulings if ruling.measure.kind is MeasureKind.GAIN)
    held = "The only guarded measure is" if guarded == 1 else f"All {guarded} guarded measures are"
    return (
        f"{held} within tolerance, and the update gained "
        f"{points(gain.difference, signed=False)} points on its own holdout "
        f"(interval {points(gain.lower)} to {points(gain.upper)})."
    )


def _open(ruling: Ruling) -> str:
    measure = ruling.measure
    relation = "reaches" if measure.kind is MeasureKind.GAIN else "exceeds"
    doubt = f"{_change(measure)}. It is uncertain whether this {relation} {_limit(measure)}:"
    if ruling.more_images is None:
        return f"{doubt} it is too close for any practical number of test images to decide."
    return (
        f"{doubt} about {counted(ruling.more_images, 'more test image')} would decide, if "
        "predictions keep changing at the same rate."
    )


def _worn_out(measure: Measure) -> str:
    return (
        f"The test images of {measure.name} are worn out: they have judged "
        f"{counted(measure.verdicts or 0, 'version')} of this line, and with the error that its "
        f"budget leaves for one more verdict, {counted(measure.images, 'image')} could not show "
        "that accuracy was kept even if no prediction changed. Judge by a suite of new images."
    )


def _advisory(measures: Sequence[Measure], minimum_count: int) -> str:
    shown = "; ".join(
        f"{subject(m)} {points(m.difference)} points ({points(m.lower)} to {points(m.upper)}), "
        f"{counted(m.images, 'image')}"
        for m in measures
    )
    return (
        f"Measures with fewer than {minimum_count:,} test images can fail a version but do not "
        f"guard it. These did not fail it: {shown}."
    )
