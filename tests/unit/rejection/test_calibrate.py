"""Thresholds and their error rates, by numbers worked by hand and by chance."""

import random
from dataclasses import replace
from statistics import fmean

import pytest

from core.errors import FieldInvalid, NotCalibrated
from core.gate.intervals import proportion_interval
from core.rejection.rules import (
    LEARNED,
    MIN_IMAGES,
    POOLED,
    RATES,
    TAIL,
    Calibration,
    ErrorRate,
    ListCalibration,
    Observed,
    Scores,
    SourceCalibration,
    Statistic,
    Threshold,
    auroc,
    calibrate,
    choose,
)


def observed(known: list[float], unknown: list[float]) -> Observed:
    """Images with these values of the one statistic."""
    return Observed(scores={Statistic.MAX_COSINE: Scores(known=known, unknown=unknown)})


def chosen(found: ListCalibration | None, rate: float) -> Threshold:
    assert found is not None
    (threshold,) = [one for one in found.thresholds if one.rate == rate]
    return threshold


@pytest.mark.parametrize(
    ("known", "unknown", "area"),
    [
        ([3, 1], [2, 0], 3 / 4),
        ([1, 2], [1, 2], 1 / 2),
        ([1, 1], [1, 0], 3 / 4),
        ([1], [0, 0, 0], 1),
        ([0], [1, 2], 0),
    ],
)
def test_auroc_is_the_share_of_pairs_in_order(
    known: list[float], unknown: list[float], area: float
) -> None:
    assert auroc(Scores(known=known, unknown=unknown)) == area


@pytest.mark.parametrize(
    ("images", "ranks"),
    [(99, {0.01: 1, 0.05: 5, 0.1: 10}), (98, {0.05: 4, 0.1: 9}), (19, {0.05: 1, 0.1: 2})],
)
def test_threshold_is_the_score_whose_rank_is_the_rate_of_one_more_image(
    images: int, ranks: dict[float, int]
) -> None:
    scores = [float(one) for one in range(1, images + 1)]
    found = calibrate(5, observed(scores, [0.0] * 10), observed(scores, [0.0] * 10))
    assert found is not None
    assert {one.rate: one.threshold for one in found.thresholds} == ranks


def test_a_new_image_of_a_class_is_rejected_as_often_as_was_asked() -> None:
    draw = random.Random(1)
    trials = 2000
    test = observed([1.0] * 10, [0.0] * 10)
    thresholds = [
        chosen(calibrate(5, observed([draw.random() for _ in range(39)], [0.0] * 10), test), 0.05)
        for _ in range(trials)
    ]
    # A score is uniform, so a threshold is the chance to be below it: on average 2 / 40.
    found = fmean(one.threshold for one in thresholds)
    assert found == pytest.approx(0.05, abs=4 * 0.034 / trials**0.5)


def test_error_rates_are_those_of_the_test_images() -> None:
    validation = observed([float(one) for one in range(10, 30)], [0.0] * 10)
    test = observed([9.0, 10.0, 11.0, 50.0] * 5, [9.0, 10.0, 1.0, 2.0, 3.0] * 4)
    found = chosen(calibrate(5, validation, test), 0.1)
    assert found.threshold == 11  # the second of 20
    rejected, accepted = found.false_rejection, found.false_acceptance
    assert (rejected.rate, rejected.images) == (10 / 20, 20)
    assert (accepted.rate, accepted.images) == (0, 20)
    interval = proportion_interval(10, 20, TAIL)
    assert (rejected.lower, rejected.upper) == (interval.lower, interval.upper)
    assert accepted.upper > 0.1


def test_statistic_is_the_one_that_tells_validation_images_apart_best() -> None:
    apart, mixed = [float(one) for one in range(20, 40)], [float(one) for one in range(20)]
    validation = Observed(
        scores={
            Statistic.MAX_COSINE: Scores(known=mixed, unknown=apart),
            Statistic.MARGIN: Scores(known=apart, unknown=mixed),
        }
    )
    test = Observed(
        scores={
            Statistic.MAX_COSINE: Scores(known=apart, unknown=mixed),
            Statistic.MARGIN: Scores(known=mixed, unknown=apart),
        }
    )
    found = calibrate(5, validation, test)
    assert found is not None
    assert (found.statistic, found.auroc) == (Statistic.MARGIN, 0)  # the area is the test images'


@pytest.mark.parametrize("counts", [(MIN_IMAGES - 1, MIN_IMAGES), (MIN_IMAGES, MIN_IMAGES - 1)])
def test_few_images_in_either_part_give_no_threshold(counts: tuple[int, int]) -> None:
    enough = observed([1.0] * MIN_IMAGES, [0.0] * MIN_IMAGES)
    assert calibrate(5, enough, enough) is not None
    validation, test = (observed([1.0] * count, [0.0] * count) for count in counts)
    assert calibrate(5, validation, test) is None


def test_what_was_observed_on_two_sources_is_put_together() -> None:
    both = observed([1.0, 2.0], [0.0, 0.0]) + observed([3.0], [4.0])
    assert both == observed([1.0, 2.0, 3.0], [0.0, 0.0, 4.0])


def test_calibrations_are_stored_and_read_back() -> None:
    part = observed([float(one) for one in range(120)], [5.0] * 20)
    found = calibrate(5, part, part)
    assert found is not None
    assert [one.rate for one in found.thresholds] == list(RATES)
    source = SourceCalibration(name="emoji", classes=("a", "b"), prompt="{name}", lists=(found,))
    calibration = Calibration(sources=(source,))
    assert Calibration.from_json(calibration.to_json()) == calibration


# ---- The threshold that a request gets -----------------------------------------------------


RATE = ErrorRate(rate=0.05, lower=0.01, upper=0.1, images=50)

PROMPT = "a photo of a {name}."


def of_size(size: int, *rates: float) -> ListCalibration:
    """Thresholds for lists of a length; each is the length."""
    return ListCalibration(
        size=size,
        statistic=Statistic.MARGIN,
        auroc=0.9,
        thresholds=tuple(
            Threshold(rate=rate, threshold=size, false_rejection=RATE, false_acceptance=RATE)
            for rate in rates or (0.05, 0.1)
        ),
    )


def source(name: str, *classes: str, sizes: tuple[int, ...] = (1, 2)) -> SourceCalibration:
    return SourceCalibration(
        name=name, classes=classes, prompt=PROMPT, lists=tuple(map(of_size, sizes))
    )


LINE = source(LEARNED, "Boot", "bag", "shirt")

EMOJI = source("emoji", "cat", "dog", "bag", "sun", sizes=(1, 2, 3))

ALL = replace(source(POOLED, sizes=(1, 2, 5, 10)), prompt=None)

BOTH = Calibration(sources=(LINE, EMOJI, ALL))


def prompts(*classes: str, template: str = PROMPT) -> list[str]:
    return [template.format(name=name.lower()) for name in classes]


@pytest.mark.parametrize(
    ("classes", "name", "covered"),
    [
        (("boot", "BAG"), LEARNED, True),
        (("bag",), LEARNED, True),  # the first that has it
        (("bag", "cat"), "emoji", True),
        (("boot", "cat"), POOLED, False),
        (("okapi",), POOLED, False),
    ],
)
def test_source_is_the_first_that_has_all_classes(
    classes: tuple[str, ...], name: str, covered: bool
) -> None:
    found = choose(BOTH, classes, prompts(*classes), 0.05)
    assert (found.source.name, found.covered) == (name, covered)


def test_another_prompt_is_not_covered() -> None:
    found = choose(BOTH, ["bag"], prompts("bag", template="one {name}"), 0.05)
    assert (found.source, found.covered) == (ALL, False)
    found = choose(BOTH, ["bag"], [*prompts("bag"), "one bag"], 0.05)
    assert not found.covered


def test_the_only_source_stands_for_others_too() -> None:
    found = choose(Calibration(sources=(LINE,)), ["okapi"], prompts("okapi"), 0.05)
    assert (found.source, found.covered) == (LINE, False)


@pytest.mark.parametrize(
    ("count", "size"), [(1, 1), (2, 2), (3, 2), (4, 5), (7, 5), (8, 10), (20, 10)]
)
def test_list_of_the_nearest_length_in_proportion_counts(count: int, size: int) -> None:
    names = [f"okapi {number}" for number in range(count)]
    found = choose(BOTH, names, prompts(*names), 0.1)
    assert (found.calibration.size, found.threshold.threshold) == (size, size)
    assert found.threshold.rate == 0.1


def test_lists_of_other_lengths_are_refused() -> None:
    names = [f"okapi {number}" for number in range(21)]
    with pytest.raises(FieldInvalid, match="1 to 10 classes; this one has 21") as told:
        choose(BOTH, names, prompts(*names), 0.1)
    assert told.value.pointer == "/classes"


def test_other_rates_are_refused_with_those_that_there_are() -> None:
    with pytest.raises(FieldInvalid, match=r"there are: 0\.05, 0\.1\.") as told:
        choose(BOTH, ["bag"], prompts("bag"), 0.01)
    assert told.value.pointer == "/none_of_these"


def test_a_version_with_too_few_images_has_no_threshold() -> None:
    with pytest.raises(NotCalibrated, match="too few images"):
        choose(Calibration(), ["bag"], prompts("bag"), 0.05)
