"""The class lists of a calibration, and the images that it takes."""

from collections import Counter
from dataclasses import replace

import pytest

from core.datasets.manifests import Part
from core.recipes.fields import DEFAULT_PROMPT
from core.rejection.queries import (
    MOST_IMAGES,
    CalibrationQuery,
    CalibrationSource,
    circle_of,
    list_sizes,
    list_starts,
    source_of,
)
from core.rejection.rules import MIN_IMAGES
from core.values import sha256
from tests.support.evaluation.evaluations import entries

NAMES = ("bag", "boot", "coat", "Dress", "hat", "sandal", "shirt", "sneaker", "t-shirt", "trouser")


@pytest.mark.parametrize(
    ("classes", "sizes"),
    [
        (1, ()),
        (2, (1,)),
        (3, (1, 2)),
        (10, (1, 2, 5, 9)),
        (11, (1, 2, 5, 10)),
        (64, (1, 2, 5, 10, 20, 50, 63)),
    ],
)
def test_lists_grow_up_to_all_classes_but_one(classes: int, sizes: tuple[int, ...]) -> None:
    assert list_sizes(classes) == sizes


def listed(start: int, size: int, count: int) -> set[int]:
    return {(start + step) % count for step in range(size)}


@pytest.mark.parametrize(("size", "count"), [(1, 2), (1, 10), (5, 10), (9, 10), (20, 95)])
def test_an_image_is_put_to_lists_with_its_class_and_without_it(size: int, count: int) -> None:
    for at in range(count):
        own, others = list_starts(sha256(b"%d" % at), at, size, count)
        assert at in listed(own, size, count)
        assert at not in listed(others, size, count)


def test_lists_are_drawn_evenly() -> None:
    images = [sha256(b"%d" % number) for number in range(2000)]
    pairs = [list_starts(image, 3, 5, 10) for image in images]
    for starts, possible in zip(
        zip(*pairs, strict=True), ((9, 0, 1, 2, 3), (4, 5, 6, 7, 8)), strict=True
    ):
        counted = Counter(starts)
        assert set(counted) == set(possible)
        assert all(abs(count - 400) < 4 * 18 for count in counted.values())  # of 2,000


def test_classes_stand_on_the_circle_in_an_order_of_their_own() -> None:
    circle = circle_of(NAMES)
    assert sorted(circle) == list(range(len(NAMES)))
    assert circle != tuple(range(len(NAMES)))
    turned = NAMES[5:] + NAMES[:5]
    again = circle_of([name.upper() for name in turned])
    assert [turned[place] for place in again] == [NAMES[place] for place in circle]


def both_parts(
    validation: int, test: int, names: tuple[str, ...] = ("bag", "boot")
) -> CalibrationSource | None:
    """A source of so many images, by turns of the first two classes."""
    images = [
        entry
        for part, count in ((Part.VALIDATION, validation), (Part.TEST, test))
        for entry in entries("art", [(names[i % 2].upper(),) for i in range(count)], part)
    ]
    return source_of("art", images, names, DEFAULT_PROMPT)


def test_a_source_needs_images_in_both_parts_and_two_classes() -> None:
    assert both_parts(MIN_IMAGES, MIN_IMAGES) is not None
    assert both_parts(MIN_IMAGES - 1, MIN_IMAGES) is None
    assert both_parts(MIN_IMAGES, MIN_IMAGES - 1) is None
    assert both_parts(MIN_IMAGES, MIN_IMAGES, ("bag", "Bag")) is None


def test_a_source_takes_some_of_many_images_and_only_those_of_its_classes() -> None:
    found = both_parts(MIN_IMAGES, MOST_IMAGES + 5)
    assert found is not None
    assert [len(found.on(part)) for part in Part] == [MIN_IMAGES, MOST_IMAGES]
    others = entries("other", [("cat",)] * 50)
    again = source_of("art", [*found.entries, *others], found.classes, DEFAULT_PROMPT)
    assert again == found


def test_an_image_that_is_there_twice_has_its_last_class() -> None:
    found = both_parts(MIN_IMAGES, MIN_IMAGES)
    assert found is not None
    first = found.entries[0]
    (relabelled,) = entries("art", [("hat",)], first.part)
    names = (*found.classes, "hat")
    again = source_of("art", [*found.entries, relabelled], names, DEFAULT_PROMPT)
    assert again is not None
    assert len(again.entries) == len(found.entries)
    (kept,) = [one for one in again.entries if one.pixels == relabelled.pixels]
    assert kept.class_name == "hat"


def test_of_near_duplicates_one_counts() -> None:
    found = both_parts(MIN_IMAGES, MIN_IMAGES)
    assert found is not None
    copies = [
        replace(entry, pixels=sha256(entry.pixels.encode()), near_duplicate_of=entry.pixels)
        for entry in found.entries
    ]
    again = source_of("art", [*copies, *found.entries], found.classes, DEFAULT_PROMPT)
    assert again == found


def test_digest_names_images_classes_and_prompts() -> None:
    one, other = both_parts(12, 12), both_parts(12, 13)
    assert one is not None
    assert other is not None
    queries = [CalibrationQuery(sources=sources) for sources in ((one,), (other,), (one, other))]
    assert len({query.digest for query in queries}) == 3
    assert queries[0].digest == CalibrationQuery(sources=(one,)).digest
    assert queries[2].entries == (*one.entries, *other.entries)
