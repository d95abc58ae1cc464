"""The threshold that a request gets, and the refusal without one."""

from dataclasses import replace

import pytest

from core.errors import FieldInvalid, NotCalibrated
from core.rejection.rules import (
    LEARNED,
    POOLED,
    Calibration,
    ErrorRate,
    ListCalibration,
    SourceCalibration,
    Statistic,
    Threshold,
    choose,
)

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
