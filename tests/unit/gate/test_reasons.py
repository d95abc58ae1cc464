"""The gate's reasons, sentence by sentence."""

from dataclasses import replace
from typing import Any

import pytest

from core.gate.guards import Guarding
from core.gate.kinds import MeasureKind, Outcome
from core.gate.measures import Measure, Ruling
from core.gate.phrases import points, subject
from core.gate.reasons import explain


def found(kind: MeasureKind = MeasureKind.ZERO_SHOT, **changes: Any) -> Measure:
    """A measure on 2000 images that lost 10 points; the numbers are for reading alone."""
    values: dict[str, Any] = {
        "name": "emoji",
        "baseline": "parent",
        "baseline_version": 1,
        "tolerance": 0.03,
        "images": 2000,
        "distinct": 2000,
        "count": 2000,
        "right": 1000,
        "right_before": 1200,
        "gained": 0,
        "lost": 200,
        "design_effect": 1.0,
        "difference": -0.1,
        "lower": -0.124,
        "upper": -0.076,
    }
    changes.setdefault("distinct", changes.get("images", 2000))
    changes.setdefault("interval_lower", changes.get("lower", -0.124))
    return Measure(kind=kind, **values | changes)


def gain(**changes: Any) -> Measure:
    """A gain of 45 points on the update's own holdout, where 30 were wanted."""
    values = {"tolerance": -0.3, "difference": 0.45, "lower": 0.32, "upper": 0.571, "images": 60}
    return found(MeasureKind.GAIN, **values | changes)


def said(*rulings: Ruling, **changes: Any) -> tuple[str, ...]:
    """The reasons where the verdict is not "passed", and nothing is missing."""
    given: dict[str, Any] = {"passed": False, "guarding": None, "has_gain": True}
    return explain(rulings, **{"minimum_count": 500} | given | changes)


def failing(measure: Measure) -> Ruling:
    return Ruling.on(measure, Outcome.FAILS)


def holding(measure: Measure) -> Ruling:
    return Ruling.on(measure, Outcome.HOLDS)


def doubtful(measure: Measure, more: int | None) -> Ruling:
    return Ruling.on(measure, Outcome.OPEN, more)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (MeasureKind.ZERO_SHOT, "top-1 on this one against the root"),
        (
            MeasureKind.IMAGE_TO_TEXT,
            "image-to-text R@1 on the holdout of this one against the root",
        ),
        (
            MeasureKind.TEXT_TO_IMAGE,
            "text-to-image R@1 on the holdout of this one against the root",
        ),
        (MeasureKind.HOLDOUT, "top-1 on the holdout of this one against the root"),
        (MeasureKind.HOLDOUTS, "top-1 on the pooled holdouts of this one against the root"),
        (MeasureKind.GAIN, "top-1 on this update's own holdout against the root"),
    ],
)
def test_every_kind_of_measure_has_words_of_its_own(kind: MeasureKind, words: str) -> None:
    assert subject(found(kind, name="this one", baseline="root")) == words


def test_suites_of_captions_and_the_gain_in_them_have_words_of_their_own() -> None:
    suite = found(MeasureKind.IMAGE_TO_TEXT, name="flickr", baseline="root")
    assert subject(suite) == "image-to-text R@1 on flickr against the root"
    assert subject(replace(suite, depth=5)) == "image-to-text R@5 on flickr against the root"
    several = replace(suite, name="2 captioned updates")
    words = "image-to-text R@1 on the pooled holdouts of 2 captioned updates against the root"
    assert subject(several) == words
    both = replace(gain(), both_directions=True)
    words = "R@1, both ways together, on this update's own holdout against the parent"
    assert subject(both) == words


@pytest.mark.parametrize(
    ("baseline", "words"),
    [
        ("parent", "the parent"),
        ("parent and root", "the parent and root"),
        ("live version", "the live version"),
        ("parent and settled version", "the parent and settled version"),
    ],
)
def test_baseline_is_told_by_what_it_is_to_the_candidate(baseline: str, words: str) -> None:
    assert subject(found(baseline=baseline)) == f"top-1 on emoji against {words}"


@pytest.mark.parametrize(
    ("fraction", "signed", "plain"),
    [
        (0.031, "+3.1", "3.1"),
        (-0.12, "−12.0", "−12.0"),
        (1.0, "+100.0", "100.0"),
        (0.0004, "0.0", "0.0"),
        (-0.0004, "0.0", "0.0"),
        (0.0, "0.0", "0.0"),
        (0.0006, "+0.1", "0.1"),
        (-0.0006, "−0.1", "−0.1"),
    ],
)
def test_points_have_one_decimal_and_nothing_is_neither_more_nor_less(
    fraction: float, signed: str, plain: str
) -> None:
    assert (points(fraction), points(fraction, signed=False)) == (signed, plain)


def test_what_failed_is_said_with_its_interval_and_what_was_allowed() -> None:
    lost = gain(difference=-0.2, lower=-0.33, upper=-0.061)
    assert said(holding(gain()), failing(found()), failing(lost)) == (
        "Top-1 on emoji against the parent changed by −10.0 points (interval −12.4 to −7.6), "
        "significantly more than the allowed loss of 3.0 points.",
        "Top-1 on this update's own holdout against the parent changed by −20.0 points "
        "(interval −33.0 to −6.1), significantly less than the wanted gain of 30.0 points.",
    )


@pytest.mark.parametrize(
    ("guarded", "held"),
    [(1, "The only guarded measure is"), (2, "All 2 guarded measures are")],
)
def test_what_passed_is_said_with_its_gain(guarded: int, held: str) -> None:
    rulings = (*[holding(found())] * guarded, holding(gain()))
    assert said(*rulings, passed=True) == (
        f"{held} within tolerance, and the update gained 45.0 points on its own holdout "
        "(interval +32.0 to +57.1).",
    )


def guarding(**changes: Any) -> Guarding:
    """The conditions for passing, by a policy that asks for 50 images of suites."""
    enough: dict[str, Any] = {"has_guard": True, "suites": True, "suite_images": 50, "needed": 50}
    return Guarding(**enough | changes)


def test_want_of_a_suite_is_said_unless_one_waits_for_labels() -> None:
    pool = holding(found(MeasureKind.HOLDOUTS, name="5 updates"))
    (told,) = said(pool, holding(gain()), guarding=guarding(suites=False, suite_images=0))
    assert told.startswith("The model has no suite, so that nothing asks what no update has taught")
    for enough in (None, guarding()):
        assert said(pool, holding(gain()), guarding=enough) == ()


@pytest.mark.parametrize(("images", "told"), [(1, "1 distinct test image"), (49, "49 distinct")])
def test_want_of_images_in_suites_is_said_with_how_many_it_takes(images: int, told: str) -> None:
    (reason,) = said(holding(gain()), guarding=guarding(suite_images=images))
    assert reason.startswith("What no update has taught is asked by suites alone, and together")
    assert f"can show a loss on {told}" in reason
    assert (
        "It takes 50, so no version is promoted automatically. Let a suite grow, or add one."
        in reason
    )


def test_doubt_about_a_guard_says_how_many_more_images_would_settle_it() -> None:
    open_one = found(difference=-0.02, lower=-0.041, upper=0.001)
    doubt = (
        "Top-1 on emoji against the parent changed by −2.0 points (interval −4.1 to +0.1). "
        "It is uncertain whether this exceeds the allowed loss of 3.0 points:"
    )
    at_this_rate = (
        "would decide it with a chance of 80 %, if predictions keep changing at the same rate. Add "
        "them to the suite emoji."
    )
    assert said(doubtful(open_one, 1840)) == (
        f"{doubt} about 1,840 more test images {at_this_rate}",
    )
    assert said(doubtful(open_one, 1)) == (f"{doubt} about 1 more test image {at_this_rate}",)
    assert said(doubtful(open_one, None)) == (f"{doubt} the difference lies at the limit.",)


def test_doubt_about_the_gain_is_about_what_was_wanted() -> None:
    assert said(doubtful(gain(difference=0.35, lower=0.28), 40)) == (
        "Top-1 on this update's own holdout against the parent changed by +35.0 points "
        "(interval +28.0 to +57.1). It is uncertain whether this reaches the wanted gain of "
        "30.0 points: about 40 more test images would decide it with a chance of 80 %, if "
        "predictions keep changing at the same rate.",
    )


def test_measures_of_few_images_are_said_in_one_sentence() -> None:
    small = found(name="small", images=300)
    single = found(name="single", baseline="root", images=1)
    pooled = found(MeasureKind.HOLDOUT, name="version 2", images=20, pooled=True)
    assert said(holding(small), holding(found()), holding(single), holding(pooled)) == (
        "These have fewer than 500 distinct test images, so they can stop a version but cannot "
        "alone let one pass: top-1 on small against the parent (300 images); top-1 on single "
        "against the root (1 image).",
    )


def test_a_bound_that_decides_apart_from_the_interval_is_said_beside_it() -> None:
    bounds = {"lower": -0.061, "interval_lower": -0.124}
    pooled = found(MeasureKind.HOLDOUT, name="version 2", images=60, pooled=True, **bounds)
    assert said(doubtful(pooled, 90))[0].startswith(
        "Top-1 on the holdout of version 2 against the parent changed by −10.0 points "
        "(interval −12.4 to −7.6, decided by −6.1). It is uncertain"
    )


@pytest.mark.parametrize(
    ("minimum", "images"), [(1, "1 distinct test image"), (5000, "5,000 distinct test images")]
)
def test_want_of_a_guard_is_said_with_what_a_guard_needs(minimum: int, images: str) -> None:
    assert said(guarding=guarding(has_guard=False), minimum_count=minimum) == (
        "No measure guards this model: it has no suite or earlier holdout that can show a loss and "
        f"has at least {images}, so no version is promoted automatically. Let a suite grow.",
    )


def test_want_of_a_holdout_is_said() -> None:
    assert said(has_gain=False) == (
        "This update's own holdout has no test images, so there is no evidence that it learned "
        "what it was taught.",
    )


def test_decisive_sentences_come_first() -> None:
    everything = said(
        holding(found(name="small", images=20)),
        doubtful(found(name="open"), None),
        failing(found(name="failed")),
        guarding=guarding(has_guard=False),
        has_gain=False,
    )
    beginnings = (
        "Top-1 on failed",
        "No measure",
        "This update's own",
        "Top-1 on open",
        "These have fewer",
    )
    assert len(everything) == len(beginnings)
    for sentence, beginning in zip(everything, beginnings, strict=True):
        assert sentence.startswith(beginning)


def flips(**changes: Any) -> Measure:
    """Of 400 answers that were right, 40 are wrong now."""
    values = {"lower": -0.145, "upper": -0.068, "tolerance": 0.05, "formerly_right": True}
    return found(**values | changes)


def test_negative_flips_are_a_share_of_the_answers_that_were_right() -> None:
    shares = (
        "Negative flips in top-1 on emoji against the parent: 10.0 % of the answers that were "
        "right are wrong now (interval 6.8 to 14.5 %)"
    )
    assert said(failing(flips()), doubtful(flips(), 90)) == (
        f"{shares}, significantly more than the allowed 5.0 %.",
        f"{shares}. It is uncertain whether this exceeds the allowed 5.0 %: about 90 more test "
        "images would decide it with a chance of 80 %, if predictions keep changing at the same "
        "rate. Add them to the suite emoji.",
    )


def test_worn_out_images_are_named_once_with_what_to_do() -> None:
    parent = found(verdicts=245, images=500)
    root = replace(parent, baseline="root")
    assert said(worn_out=[parent, root]) == (
        "The test images of emoji are worn out: they have judged 245 versions of this line, and "
        "with the error that its budget leaves for one more verdict, 500 images could not show "
        "that accuracy was kept even if no prediction changed. Judge by a suite of new images.",
    )
