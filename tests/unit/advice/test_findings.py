"""Advice on images, on class names, and on what the parent recognises."""

from dataclasses import replace

import pytest

from core.advice.findings import (
    ClassImages,
    Recognition,
    Severity,
    image_findings,
    images_per_class,
    name_findings,
    overall,
    recognitions,
    sample,
    zero_shot_findings,
    zero_shot_unknown,
)
from core.datasets.manifests import (
    SPLIT_RULE,
    Manifest,
    ManifestEntry,
    Part,
    Side,
)
from core.datasets.rules import DatasetKind
from core.values import Digest
from tests.support.factories import an_entry, digest, part_of, side_of

GROUPS = [digest(n) for n in range(200)]

TRAIN = [one for one in GROUPS if side_of(one) is Side.TRAIN]

TEST = [g for g in GROUPS if (side_of(g), part_of(g)) == (Side.HOLDOUT, Part.TEST)]

VALIDATION = [g for g in GROUPS if (side_of(g), part_of(g)) == (Side.HOLDOUT, Part.VALIDATION)]


def entry(pixels: Digest, name: str) -> ManifestEntry:
    return an_entry(pixels=pixels, artifact=digest("bytes"), texts=(name,))


def manifest(*entries: ManifestEntry) -> Manifest:
    return Manifest(kind=DatasetKind.LABELLED, entries=entries)


def named(name: str, *images: Digest) -> list[ManifestEntry]:
    return [entry(pixels, name) for pixels in images]


def test_images_are_counted_by_class_and_use() -> None:
    judged = named("boot", *TEST[:2])
    found = images_per_class(
        manifest(
            *named("boot", *TRAIN[:3], VALIDATION[0]), *judged, *named("bag", *TRAIN[3:5], TEST[2])
        ),
        judged,
    )
    assert found == (
        ClassImages(name="bag", train=2, holdout=1, test=0),
        ClassImages(name="boot", train=3, holdout=3, test=2),
    )


def test_enough_images_of_every_class_give_one_finding() -> None:
    images = manifest(*named("boot", *TRAIN[:16], TEST[0]))
    [only] = image_findings(images, images_per_class(images, [entry(TEST[0], "boot")]), test=1)
    assert (only.code, only.severity) == ("images", Severity.INFO)
    assert only.message == (
        "The dataset has 16 training images and a holdout of 1 image. The verdict is based on "
        f"1 test image of the holdout. {SPLIT_RULE}"
    )
    assert only.facts == {"train": 16, "holdout": 1, "test": 1}


def test_classes_with_few_images_and_without_test_images_are_listed() -> None:
    images = manifest(
        *named("boot", *TRAIN[:15], *TEST[:2]), *named("bag", *TRAIN[15:31], VALIDATION[0])
    )
    classes = images_per_class(images, named("boot", *TEST[:2]))
    _, few, untested = image_findings(images, classes, test=2)
    assert (few.code, few.severity) == ("few_training_images", Severity.WARNING)
    assert few.message == (
        "These classes have fewer than 16 training images: boot (15). Add images of them."
    )
    assert few.facts == {"classes": {"boot": 15}, "least": 16}
    assert (untested.code, untested.severity) == ("no_test_images", Severity.WARNING)
    assert untested.message == (
        "These classes have no test image, so the verdict does not cover them: bag. "
        "Add images of them: about one in six becomes a test image."
    )
    assert untested.facts == {"classes": ["bag"]}


def test_near_duplicates_are_counted_with_the_image_that_they_are_like() -> None:
    alike = [replace(one, near_duplicate_of=TRAIN[0]) for one in named("boot", *TRAIN[1:3])]
    pair = replace(entry(TRAIN[4], "boot"), near_duplicate_of=TRAIN[3])
    # The image that this one is like is not in the dataset, so it is alone here.
    alone = replace(entry(TRAIN[5], "boot"), near_duplicate_of=GROUPS[-1])
    images = manifest(entry(TRAIN[0], "boot"), *alike, entry(TRAIN[3], "boot"), pair, alone)
    last = list(image_findings(images, images_per_class(images, ()), test=0))[-1]
    assert (last.code, last.severity) == ("near_duplicates", Severity.INFO)
    assert last.message == (
        "5 of 6 images are near-duplicates of one another, in 2 groups. "
        "A group teaches hardly more than one image does."
    )
    assert last.facts == {"images": 5, "groups": 2}


def test_names_that_were_learned_before_are_listed() -> None:
    same, respelt = name_findings(["Bag", "boot", "hat"], learned=["bag", "boot"], suites={})
    assert (same.code, same.severity) == ("class_learned_before", Severity.INFO)
    assert same.message == (
        "These classes were learned before and are taught again: boot. "
        "Rename those that now mean something else."
    )
    assert same.facts == {"classes": ["boot"]}
    assert (respelt.code, respelt.severity) == ("class_differs_in_case", Severity.WARNING)
    assert respelt.message == (
        "These classes differ from classes learned before only in case: Bag (bag). Each pair has "
        "the same prompt and counts as one class: use one spelling, or rename those that mean "
        "something else."
    )
    assert respelt.facts == {"classes": {"Bag": "bag"}}


def test_names_in_suites_are_listed_suite_by_suite() -> None:
    suites = {"pets": ["cat", "dog"], "toys": ["ball"], "wild": ["Cat"]}
    pets, wild = name_findings(["cat", "dog"], learned=(), suites=suites)
    assert (pets.code, pets.severity) == ("class_in_suite", Severity.INFO)
    assert pets.message == (
        "These classes are also in the suite pets: cat, dog. "
        "Rename those that mean something else there."
    )
    assert pets.facts == {"suite": "pets", "classes": ["cat", "dog"]}
    assert wild.code == "class_differs_in_case"
    assert wild.message.startswith(
        "These classes differ from classes of the suite wild only in case: cat (Cat). "
    )
    assert wild.facts == {"suite": "wild", "classes": {"cat": "Cat"}}


def test_a_name_that_is_there_in_the_same_case_too_is_the_same() -> None:
    assert not list(name_findings(["boot"], learned=["bag"], suites={"pets": ["cat"]}))
    [found] = name_findings(["cat"], learned=["cat", "Cat"], suites={})
    assert found.code == "class_learned_before"


def test_a_long_list_is_cut_in_the_message_alone() -> None:
    names = [f"c{n}" for n in range(10)]
    [found] = name_findings(names, learned=names, suites={})
    assert "again: c0, c1, c2, c3, c4, c5, c6, c7 and 2 more. " in found.message
    assert found.facts["classes"] == names


def entries(name: str, count: int) -> list[ManifestEntry]:
    made = [
        an_entry(pixels=digest(f"{name} {n}"), artifact=digest(n), texts=(name,))
        for n in range(count)
    ]
    return sorted(made, key=lambda entry: entry.pixels)


def test_at_most_twenty_images_of_a_class_are_asked() -> None:
    boots, bags = entries("boot", 25), entries("bag", 3)
    assert sample(manifest(*boots, *bags)) == (*boots[:20], *bags)


@pytest.mark.parametrize(
    ("classes", "asked"), [(20, 20 * 20), (21, 21 * 19), (100, 100 * 4), (201, 201), (500, 400)]
)
def test_at_most_four_hundred_images_are_asked(classes: int, asked: int) -> None:
    images = [one for n in range(classes) for one in entries(f"c{n}", 20)]
    assert len(sample(manifest(*images))) == asked


def test_one_image_of_a_group_is_asked() -> None:
    first, second, third = entries("boot", 3)
    second = replace(second, near_duplicate_of=first.pixels)
    assert sample(manifest(first, second, third)) == (first, third)


def test_right_answers_are_counted_by_class_in_any_case() -> None:
    asked = [*entries("Boot", 3), *entries("bag", 2)]
    found = recognitions(asked, ["boot", "Boot", "bag", "bag", "boot"])
    assert found == {"Boot": Recognition(right=2, asked=3), "bag": Recognition(right=1, asked=2)}
    assert overall(found) == Recognition(right=3, asked=5)


def test_known_classes_are_those_of_which_nine_tenths_are_recognised() -> None:
    recognised = {
        "boot": Recognition(right=18, asked=20),
        "bag": Recognition(right=17, asked=20),
        "hat": Recognition(right=0, asked=10),
    }
    total, known = zero_shot_findings(recognised, competing=1200)
    assert (total.code, total.severity) == ("zero_shot", Severity.INFO)
    assert total.message == (
        "The parent recognises 35 of 50 sampled images (70 %) among 1,200 classes."
    )
    assert total.facts == {"right": 35, "asked": 50}
    assert (known.code, known.severity) == ("class_known", Severity.WARNING)
    assert known.message == (
        "The parent already recognises at least 90 % of these classes' sampled images: "
        "boot (18 of 20). Leave these classes out unless the rest must improve."
    )
    assert known.facts == {"classes": ["boot"]}
    recognised = {"boot": Recognition(right=1, asked=2)}
    assert [one.code for one in zero_shot_findings(recognised, competing=2)] == ["zero_shot"]


def test_a_parent_that_cannot_be_asked_is_a_warning_with_the_reason() -> None:
    found = zero_shot_unknown("The inference process does not respond.")
    assert (found.code, found.severity) == ("zero_shot_unknown", Severity.WARNING)
    assert found.message == (
        "What the parent already recognises is unknown. The inference process does not respond."
    )
    assert found.facts == {"reason": "The inference process does not respond."}
