"""The sentences that explain a verdict."""

from collections.abc import Iterator, Sequence
from math import ceil

from core.gate.changes import ClassMean, Disagreements, Edition, Losing, Ungained, Untaught
from core.gate.classes import ClassLoss
from core.gate.guards import Guarding, about_guards
from core.gate.intervals import p_below
from core.gate.kinds import SUITES, ClassList, MeasureKind, Outcome
from core.gate.levels import LOOK_SHARES
from core.gate.measures import Measure, Ruling
from core.gate.phrases import (
    OWN_PROMPTS,
    capital,
    change,
    class_count,
    images_apart,
    limit,
    points,
    subject,
    the_baseline,
)
from core.values import counted

FAILED_BEFORE = (
    "It, or a version with the same weights, has failed before under this policy, and a failure "
    "stands: other images do not take it back. Train another version."
)


def explain(
    rulings: Sequence[Ruling],
    *,
    passed: bool,
    guarding: Guarding | None,
    has_gain: bool,
    minimum_count: int,
    worn_out: Sequence[Measure] = (),
) -> tuple[str, ...]:
    """Return the reasons for the verdict, the decisive ones first.

    Without `guarding`, nothing is said of guards: a suite may guard once it has labels.
    """
    lines = [_failing(r) for r in rulings if r.outcome is Outcome.FAILS]
    if passed:
        lines.append(_passing(rulings))
    if guarding is not None and not guarding.is_enough:
        lines.append(_unguarded(guarding, minimum_count))
    if not has_gain:
        lines.append(
            "This update's own holdout has no test images, so there is no evidence that it "
            "learned what it was taught."
        )
    still_open = [r for r in rulings if r.outcome is Outcome.OPEN]
    if beyond := [r for r in still_open if r.live_is_beyond]:
        lines.append(_beyond(beyond))
    hidden = [r for r in still_open if r.held_back_by_others and not r.live_is_beyond]
    doubtful = [r for r in still_open if not (r.live_is_beyond or r.held_back_by or r in hidden)]
    lines += [_in_doubt(r) for r in doubtful]
    lines += [_hidden(r, hidden_loss(r)) for r in hidden]
    lines += [
        _held_back(r, e) for r in still_open for e in r.editions if e.number == r.held_back_by
    ]
    lines += {
        r.name: _surely_worse(r) for r in still_open if r.soft and not r.holds_by_views
    }.values()
    lines += {
        r.name: _showing_none(r, r.disagreements)
        for r in rulings
        if r.disagreements and r.disagreements.none
    }.values()
    lines += {r.name: _looked(r) for r in rulings if r.look > 1}.values()
    lines += about_guards(rulings, minimum_count=minimum_count, worn_out=worn_out)
    return tuple(lines)


def _unguarded(guarding: Guarding, minimum_count: int) -> str:
    """Return why too little is asked for any version to pass."""
    if not guarding.suites:
        return (
            "The model has no suite, so that nothing asks what no update has taught: no version is "
            "promoted automatically. Give the model a suite."
        )
    if not guarding.has_guard:
        return (
            "No measure guards this model: it has no suite or earlier holdout that can show a loss "
            f"and has at least {counted(minimum_count, 'distinct test image')}, so no version is "
            "promoted automatically. Let a suite grow."
        )
    return (
        "What no update has taught is asked by suites alone, and together they can show a loss on "
        f"{counted(guarding.suite_images, 'distinct test image')} of classes that no update has "
        f"improved. It takes {guarding.needed:,}, so no version is promoted automatically. Let a "
        "suite grow, or add one."
    )


NAMED = 5  # classes in a sentence


def about_classes(lost: Sequence[ClassLoss], tolerance: float | None) -> Iterator[str]:
    """Yield the sentences about classes that fail a version, and those the live one has lost."""
    if tolerance is None:
        return
    allowed = f"the allowed {points(tolerance, signed=False)} points"
    inherited = [one for one in lost if one.live_is_beyond(tolerance)]
    if own := [one for one in lost if one not in inherited]:
        yield f"Of a single class, significantly more was lost than {allowed}: {_named(own)}."
    if inherited:
        yield (
            f"The live version itself has lost more of a single class than {allowed}: "
            f"{_named(inherited)}. {_INHERITED}"
        )


def _named(lost: Sequence[ClassLoss]) -> str:
    told = [
        f"{one.class_name} of {_whose(one)}, against {the_baseline(one)} ({one.right:,} of "
        f"{counted(one.images, 'image')} right, {one.right_before:,} before)"
        for one in lost[:NAMED]
    ]
    more = [f"and {len(lost) - NAMED:,} more"] if len(lost) > NAMED else []
    return "; ".join([*told, *more])


def _whose(loss: ClassLoss) -> str:
    name = {
        MeasureKind.ZERO_SHOT: loss.name,
        MeasureKind.HOLDOUTS: f"the holdouts of {loss.name}",
        MeasureKind.GAIN: "this update's own holdout",
    }.get(loss.kind, f"the holdout of {loss.name}")
    if loss.edition is not None:
        name = f"{name} in edition {loss.edition}"
    if loss.asked is ClassList.UNION:
        name = f"{name}, with all learned classes to choose from"
    if loss.asked is ClassList.LEARNED:
        name = f"{name}, with learned classes alone to choose from"
    return f"{name}, {OWN_PROMPTS}" if loss.own_prompts else name


def _failing(measure: Measure) -> str:
    if measure.kind is MeasureKind.GAIN:
        return f"{change(measure)}, significantly less than {limit(measure)}."
    if (apart := failing_apart(measure)) is not None:
        return (
            f"{capital(subject(measure))} changed by {points(apart.flips.difference)} points on "
            f"{images_apart(apart)}, significantly more than {limit(measure)}."
        )
    return f"{change(measure)}, significantly more than {limit(measure)}."


def _passing(rulings: Sequence[Ruling]) -> str:
    every = [one for one in rulings if one.kind is MeasureKind.GAIN]
    gains = [one for one in every if one.depth == 1 and not one.own_prompts]
    guarded = sum(ruling.kind is not MeasureKind.GAIN for ruling in rulings)
    held = "The only guarded measure is" if guarded == 1 else f"All {guarded} guarded measures are"
    if not gains:
        return f"{held} within tolerance. It was converted and taught nothing, so it need not gain."
    kinds = {one.both_directions for one in gains}
    told = " and ".join(
        f"{points(gain.difference, signed=False)} points on its own holdout"
        f"{' of captions' if gain.both_directions and len(kinds) > 1 else ''} "
        f"(interval {points(gain.interval_lower)} to {points(gain.upper)}{_decided(gain)})"
        for gain in gains
    )
    return f"{held} within tolerance, and the update gained {told}."


def _decided(gain: Measure) -> str:
    doubtful = gain.interval_lower < -gain.tolerance  # at the error of the other measures
    return f"; decided by {points(gain.lower)}" if doubtful else ""


def _open(ruling: Ruling) -> str:
    relation = "reaches" if ruling.kind is MeasureKind.GAIN else "exceeds"
    doubt = f"{change(ruling)}. It is uncertain whether this {relation} {limit(ruling)}:"
    if ruling.look > len(LOOK_SHARES):
        return f"{doubt} the looks at these images are used up."
    if ruling.more_images is None:
        return f"{doubt} the difference lies at the limit."
    if ruling.disagreements is not None:
        return f"{doubt} {_more_labels(ruling, ruling.disagreements, ruling.more_images)}"
    return (
        f"{doubt} about {counted(ruling.more_images, 'more test image')} would decide it with a "
        f"chance of 80 %, if predictions keep changing at the same rate.{_route(ruling)}"
    )


def _in_doubt(ruling: Ruling) -> str:
    if ruling.lost_on_copies:
        return _on_copies(ruling)
    if ruling.class_mean is not None and ruling.lost_in_classes:
        return _in_the_mean(ruling, ruling.class_mean)
    if ruling.losing is not None and ruling.lost_by_some:
        return _by_some(ruling, ruling.losing)
    return _open(ruling)


def _in_the_mean(measure: Measure, classes: ClassMean) -> str:
    """Return why a measure does not hold in the mean of classes or on the last near-duplicates."""
    falls = f"does not reach {limit(measure)}"
    if measure.kind is not MeasureKind.GAIN:
        falls = f"exceeds {limit(measure)}"
    beyond = f"{points(classes.mean)} points, which {falls}"
    if classes.at_most > classes.mean:
        surely = f"and surely no better than {points(classes.at_most)}"
        beyond = f"{points(classes.mean)} points, {surely}, which {falls}"
    if classes.latest:
        last = f"of the {counted(classes.classes, 'group')} that have several"
        if not measure.is_of_captions:
            several = f", in the mean of {class_count(classes.classes)},"
            last = f"class among near-duplicates{several if classes.classes > 1 else ''}"
        told = f"{change(measure)}, near-duplicates counted once. On the last image of each"
        return f"{told} {last} it is {beyond}."
    what, one = class_count(classes.classes), "class"
    if measure.is_of_captions:
        what, one = counted(classes.classes, "different caption"), "caption"
    told = f"{change(measure)}. In the mean of {what} it is"
    return f"{told} {beyond}: a {one} with many images hides others."


def _by_some(measure: Measure, losing: Losing) -> str:
    """Return why a measure does not hold of which some classes lose."""
    more = losing.classes - len(losing.names) if losing.names else 0
    names = ", ".join((*losing.names, *([f"and {more:,} more"] if more else [])))
    shown = f"{class_count(losing.classes)} ({names})" if names else class_count(losing.classes)
    if losing.at_least > 1:
        shown += f" with at least {losing.at_least} images"
    if losing.joined:
        shown += f", in several {'suites' if measure.is_of_suite else 'holdouts'},"
    loss = "a loss"
    if losing.beyond:
        loss += f" of more than {points(losing.beyond, signed=False)} points"
    return (
        f"{change(measure)}. On the {counted(losing.images, 'image')} of {shown} whose other "
        f"images show {loss}, it is {points(losing.mean)} points, and surely no better than "
        f"{points(losing.at_most)}, which exceeds {limit(measure)}: what other classes gain does "
        "not make up for it."
    )


def _on_copies(measure: Measure) -> str:
    """Return why a measure does not hold in which near-duplicates count once."""
    relation = "does not reach" if measure.kind is MeasureKind.GAIN else "exceeds"
    edition = ", or surely over all that an earlier edition had," if measure.editions else ""
    return (
        f"{change(measure)}, near-duplicates counted once. Over all images{edition} it changed by "
        f"{points(measure.every_image or 0.0)} points, which {relation} {limit(measure)}."
    )


def _more_labels(measure: Measure, known: Disagreements, more: int) -> str:
    chance = "would decide it with a chance of 80 %"
    if not known.total:
        images = counted(measure.images + more, "test image")
        return f"the versions agree about all images, and a suite of about {images} {chance}."
    if known.labelled + more > known.total:
        images = counted(ceil(measure.images * (known.labelled + more) / known.total), "test image")
        return (
            f"labels of all {counted(known.total, 'disagreement')} may not. A suite of about "
            f"{images}, labelled likewise, {chance}."
        )
    return (
        f"labels of the first {counted(known.labelled + more, 'disagreement')} {chance}. Now the "
        f"first {known.labelled:,} count."
    )


def _showing_none(measure: Measure, known: Disagreements) -> str:
    images = measure.images * (known.labelled - known.none) // known.labelled
    return (
        f"Of {counted(known.labelled, 'labelled disagreement')} on {measure.name}, {known.none:,} "
        f"show none of its classes. So its {counted(measure.images, 'image')} count as {images:,}: "
        "a suite needs images of its classes."
    )


def unlabelled(
    name: str, version: str, baseline: str, *, disagreed: int, labelled: int, least: int
) -> str:
    """Return why a version does not pass by itself that an unlabelled suite has not compared."""
    if labelled == disagreed:
        return (
            f"Of the images of {name} about which this version and the {baseline} disagree, none "
            "shows one of its classes: a suite needs images of its classes."
        )
    return (
        f"The suite {name} has no labels of its own, and this version and the {baseline} disagree "
        f"about {counted(disagreed, 'image')} of it. The first {least:,} of these need labels, and "
        f"{labelled:,} in a row have one: label what `perennial suite to-label {name} {version}` "
        "lists, and score the version again."
    )


def _route(measure: Measure) -> str:
    """Return how a measure gets more images. An own holdout and one of captions do not grow."""
    if measure.kind is MeasureKind.GAIN or (
        measure.is_of_captions and measure.place != measure.name
    ):
        return ""
    if measure.kind in SUITES:
        return f" Add them to the suite {measure.name}."
    return f" Add them to the holdout{'s' if measure.kind is MeasureKind.HOLDOUTS else ''}."


def _beyond(rulings: Sequence[Ruling]) -> str:
    lost = "; ".join(
        f"{subject(r)} {points(r.live_difference or 0.0)} points, where "
        f"{points(r.tolerance, signed=False)} may be lost"
        for r in rulings
    )
    return f"The live version itself has lost more than the limits allow: {lost}. {_INHERITED}"


_INHERITED = (
    "This version does not fail for that, but none passes by itself until it is regained: roll "
    "back to a version from before the loss, teach again what was lost, or let a person promote "
    "this version with a reason."
)


def _held_back(measure: Measure, edition: Edition) -> str:
    earlier, added = edition.earlier, edition.added
    return (
        f"{capital(subject(measure))} does not hold by all images together: the "
        f"{counted(earlier.distinct, 'image')} of an earlier edition changed by "
        f"{points(earlier.flips.difference)} points{_searched_alone(edition)}, the "
        f"{added.distinct:,} added since by {points(added.flips.difference)}. The added images are "
        "no larger sample of the same thing, or chance made the earlier ones look worse: a person "
        "may decide."
    )


def _searched_alone(edition: Edition) -> str:
    """Return the change of an edition's captions without what was added to the gallery."""
    if edition.alone is None:
        return ""
    return f" ({points(edition.alone.flips.difference)} without the added ones in the gallery)"


def failing_apart(measure: Measure) -> Untaught | None:
    """Return the images of `untaught` by which a measure fails; None if by all together."""
    apart = measure.untaught
    if apart is None or measure.is_inherited(apart):
        return None
    surer = p_below(apart.flips, -measure.tolerance) < p_below(measure.flips, -measure.tolerance)
    return apart if surer or measure.live_is_beyond else None


def hidden_loss(measure: Measure) -> Untaught | Ungained:
    """Return the classes not improved that hold a measure back: of both kinds the worse ones."""
    return min(measure.others, key=lambda part: part.flips.difference)


def _hidden(measure: Measure, apart: Untaught | Ungained) -> str:
    in_edition = isinstance(apart, Ungained) and apart.edition is not None
    elsewhere = "images that were added since" if in_edition else "other classes"
    told = "it is not certain that these alone are within"
    if measure.pooled:
        told = "these alone surely changed by more than"
    return (
        f"{capital(subject(measure))} does not hold by all images together, which changed by "
        f"{points(measure.difference)} points: on {images_apart(apart)}, it is "
        f"{points(apart.flips.difference)}, and {told} "
        f"{limit(measure)}. What is gained on {elsewhere} does not make up for it: a person "
        "may decide."
    )


def _surely_worse(measure: Measure) -> str:
    return (
        f"On {measure.name}, significantly more was lost on the images themselves than on small "
        "crops of them, so that single images alone decide there."
    )


def _looked(measure: Measure) -> str:
    most = len(LOOK_SHARES)
    if measure.disagreements is not None:
        stricter = "they let it pass no more" if measure.look > most else "its bound is stricter"
        return (
            f"This is look {measure.look} of at most {most} at images of {measure.name}, as other "
            f"suites have many of them. The looks share the error of one verdict, so {stricter}."
        )
    if measure.look > most:
        return (
            f"The test images of {measure.name} have judged this version {most} times before, each "
            "time with more of them: they let it pass no more. Judge it by mostly other images."
        )
    return (
        f"The test images of {measure.name} have grown, and this is look {measure.look} of at most "
        f"{most} at them. The looks share the error of one verdict, so its bound is stricter."
    )
