"""The first sentences of a report: what is not guarded, learned, and lost; may it go live?"""

from collections.abc import Iterator, Sequence

from core.evaluation.report import Summary, Unguarded
from core.gate.classes import ClassLoss
from core.gate.guards import Guarding, has_images
from core.gate.judge import Judgement
from core.gate.kinds import ClassList, MeasureKind, Outcome
from core.gate.measures import Ruling
from core.gate.phrases import OWN_PROMPTS, among, images_apart, the_baseline
from core.gate.reasons import hidden_loss
from core.gate.rules import Verdict
from core.values import counted

NAMED = 5  # classes
CONVERTED = "It was taught nothing: it has the tensors of its parent, in another precision."


def summarise(
    classes: Sequence[str],
    judgement: Judgement,
    minimum_count: int,
    unguarded: Sequence[Unguarded] = (),
    worse: Sequence[ClassLoss] = (),
    *,
    captions: bool = False,
) -> Summary:
    """Return the sentences on a version that was taught these classes, captions or both.

    They count answers and give no percentages. `worse` are those of these classes of which it
    recognises less than its parent.
    """
    every = [m for m in judgement.measures if m.kind is MeasureKind.GAIN]
    of_captions = [m for m in every if m.both_directions]
    gains = [m for m in every if not m.both_directions]
    gain = next(iter(every), None)
    taught = [
        *([_learned(classes, gains, worse)] if classes or not captions else []),
        *([_captions_learned(of_captions)] if captions else []),
    ]
    return Summary(
        unguarded=_unguarded(unguarded),
        learned=CONVERTED if judgement.converted else " ".join(taught),
        lost=_lost(
            largest_loss(judgement.measures, minimum_count),
            next((m for m in judgement.measures if m.held_back_by_others), None),
            to_label=bool(judgement.to_label),
        ),
        go_live=_go_live(judgement, gain),
    )


def largest_loss(measures: Sequence[Ruling], minimum_count: int) -> Ruling | None:
    """Return the measure that lost the largest share of answers; None if nothing was asked.

    It is one of those that failed and of the suites and pools with `minimum_count` images, if
    there are any: in a small holdout, a few answers are a large share by chance. Over default lists
    it is only if it failed, as new classes alone take some answers there. Where none of these lost
    any, it is one of all.
    """
    every = [m for m in measures if m.kind is not MeasureKind.GAIN and not m.formerly_right]
    kept = [m for m in every if not m.only_fails or m.outcome is Outcome.FAILS]
    telling = [m for m in kept if has_images(m, minimum_count) or m.outcome is Outcome.FAILS]
    lost = [m for m in telling or kept if m.difference < 0]
    return min(lost or every, key=lambda m: m.difference, default=None)


def _unguarded(unguarded: Sequence[Unguarded]) -> str:
    if not unguarded:
        return ""
    whose = "; and ".join(
        f"{_count(one.classes)} of version {one.version}"
        f"{', which was imported' if one.imported else ''}: {_named(one.classes)}"
        for one in unguarded
    )
    return (
        f"Nothing guards {whose}. No suite of the model and no earlier holdout has test images of "
        "these, so a version that forgets them may pass: give the model a suite that has."
    )


def _count(classes: Sequence[str]) -> str:
    return f"{len(classes):,} {'class' if len(classes) == 1 else 'classes'}"


def _named(classes: Sequence[str]) -> str:
    return ", ".join(classes[:NAMED]) + (", …" if len(classes) > NAMED else "")


def _learned(classes: Sequence[str], gains: Sequence[Ruling], worse: Sequence[ClassLoss]) -> str:
    if not classes:
        return "It was taught no classes."
    taught = f"It was taught {_count(classes)} ({_named(classes)})"
    if not gains:
        return f"{taught}; no held-out image shows whether it learned them."
    gain, *own_prompts = gains
    asked = counted(gain.count, "held-out test image")
    before = f"{_whose(gain)} recognised {gain.right_before:,}"
    if own_prompts:
        before = f"{before}, and {own_prompts[0].right_before:,} in its own prompt"
    told = f"{taught}: of {asked} it now recognises {gain.right:,}; {before}."
    return f"{told} It got worse at {_got_worse(worse)}." if worse else told


def _captions_learned(gains: Sequence[Ruling]) -> str:
    if not gains:
        return "It was taught captions; no held-out image shows whether it learned them."
    gain, *_ = gains
    return (
        f"It was taught captions: of {counted(gain.count, 'answer')} about held-out test images "
        "(which caption is an image's, which image a caption's) "
        f"{gain.right:,} are right now; {_whose(gain)} had {gain.right_before:,}."
    )


def _got_worse(worse: Sequence[ClassLoss]) -> str:
    told = [
        f"{one.class_name} ({one.right:,} of {counted(one.images, 'image')}, "
        f"{one.right_before:,} before)"
        for one in worse[:NAMED]
    ]
    return ", ".join(told) + (", …" if len(worse) > NAMED else "")


def _whose(measure: Ruling) -> str:
    """Return the version compared with, by its number where it is one."""
    number = measure.baseline_version
    return the_baseline(measure) if number is None else f"version {number}"


def _lost(worst: Ruling | None, hiding: Ruling | None, *, to_label: bool) -> str:
    if worst is None and to_label:
        return "Nothing shows yet what it lost: images have to be labelled first."
    if worst is None:
        return "Nothing shows what it lost: no suite and no earlier holdout was asked."
    apart = hidden_loss(hiding) if hiding is not None else None
    if worst.difference >= 0 and hiding and apart and apart.lost > apart.gained:
        return (
            f"What it gained on some classes hides a loss on {hiding.place}, compared "
            f"with {_whose(hiding)}: of {images_apart(apart)}, {apart.lost:,} are wrong now "
            f"that were right, and {apart.gained:,} right that were wrong."
        )
    if worst.difference >= 0:
        return (
            "It lost nothing on balance on suites and earlier holdouts: in each comparison, at "
            "least as many answers are right as before."
        )
    what = worst.place
    if worst.asked is not ClassList.OWN:
        what = f"{what}, {among(worst)}"
    if worst.own_prompts:
        what = f"{what}, {OWN_PROMPTS}"
    if worst.depth > 1:
        what = f"{what}, where the first {worst.depth} count"
    if (known := worst.disagreements) is not None:
        return (
            f"It lost most on {what}: of {known.labelled:,} labelled disagreements with "
            f"{_whose(worst)} it is right about {worst.right:,}, and that one was about "
            f"{worst.right_before:,}."
        )
    return (
        f"It lost most on {what}: {worst.right:,} of {counted(worst.count, 'answer')} are right; "
        f"{worst.right_before:,} were with {_whose(worst)}."
    )


def _go_live(judgement: Judgement, gain: Ruling | None) -> str:
    if judgement.verdict is Verdict.PASSED and judgement.converted:
        return "It may go live: its losses are within the limits."
    if judgement.verdict is Verdict.PASSED:
        return "It may go live: its losses are within the limits, and it learned enough."
    if judgement.verdict is Verdict.FAILED:
        otherwise = "its answers cannot be used"
        if judgement.failed_before:
            otherwise = "it has failed before under this policy"
        why = [*_failures(judgement)] or [otherwise]
        return f"It may not go live: {'; '.join(why)}."
    doubts = _doubts(judgement, gain)
    return f"It does not go live by itself: {doubts}; a person may decide."


def _failures(judgement: Judgement) -> Iterator[str]:
    failing = [m for m in judgement.measures if m.outcome is Outcome.FAILS]
    kept = [m for m in failing if m.kind is not MeasureKind.GAIN]
    searched = [m for m in kept if m.is_of_captions and m.asked is ClassList.UNION]
    asked = {m.asked for m in kept if not (m.own_prompts or m in searched)}
    if ClassList.OWN in asked:
        yield "it forgot more than the limits allow"
    if ClassList.UNION in asked:
        yield "newer classes take more of the earlier ones' answers than the limits allow"
    elif ClassList.WITH_SUITES in asked:
        yield "suites' classes take more of the earlier ones' answers than the limits allow"
    elif ClassList.LEARNED in asked:
        yield "among the learned classes alone it lost more than the limits allow"
    if ClassList.DEFAULT in asked:
        yield "callers who send no classes would lose more than the limit allows"
    if searched:
        yield "other images and captions are found first more often than the limits allow"
    if any(m.own_prompts for m in kept):
        yield "callers who send no prompt would lose more than the limits allow"
    if len(judgement.lost_classes) > len(judgement.inherited_classes):
        yield "a single class lost more than the limit allows"
    if len(kept) < len(failing):
        yield "it learned less than it has to"


def _doubts(judgement: Judgement, gain: Ruling | None) -> str:
    lacks, doubts, guarding = [], [], judgement.guarding
    still_open = [m for m in judgement.measures if m.outcome is Outcome.OPEN]
    if judgement.to_label:
        lacks.append("images about which versions disagree have to be labelled")
    are_open = {m.kind is MeasureKind.GAIN for m in still_open if not m.live_is_beyond}
    if judgement.inherited_classes or any(m.live_is_beyond for m in still_open):
        lacks.append("the live version itself has lost more than the limits allow")
    if not (judgement.to_label or guarding.is_enough):
        lacks.append(_unasked(guarding))
    if False in are_open:
        doubts.append("that its losses are within the limits")
    if gain is None and not judgement.converted:
        lacks.append("no held-out image shows whether it learned what it was taught")
    if True in are_open:
        doubts.append("that it learned enough")
    if doubts:
        lacks.append(f"it is not certain {' and '.join(doubts)}")
    return ", and ".join(lacks)


def _unasked(guarding: Guarding) -> str:
    if not guarding.suites:
        return "no suite asks what it was not taught"
    if not guarding.has_guard:
        return "too few test images guard what it must not forget"
    return (
        f"suites ask what it was not taught on {counted(guarding.suite_images, 'test image')}, "
        f"where it takes {guarding.needed:,}"
    )
