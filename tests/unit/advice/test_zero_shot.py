"""The sample that the parent is asked about, and what its answers say."""

from dataclasses import replace

import pytest

from core.advice.findings import (
    Recognition,
    Severity,
    overall,
    recognitions,
    sample,
    zero_shot_findings,
    zero_shot_unknown,
)
from core.datasets.manifests import Manifest, ManifestEntry
from core.datasets.rules import DatasetKind
from tests.support.factories import digest


def entries(name: str, count: int) -> list[ManifestEntry]:
    made = [
        ManifestEntry(pixels=digest(f"{name} {n}"), artifact=digest(n), texts=(name,))
        for n in range(count)
    ]
    return sorted(made, key=lambda entry: entry.pixels)


def manifest(*images: ManifestEntry) -> Manifest:
    return Manifest(kind=DatasetKind.LABELLED, entries=images)


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


def test_no_known_class_gives_no_warning() -> None:
    recognised = {"boot": Recognition(right=1, asked=2)}
    assert [one.code for one in zero_shot_findings(recognised, competing=2)] == ["zero_shot"]


def test_a_parent_that_cannot_be_asked_is_a_warning_with_the_reason() -> None:
    found = zero_shot_unknown("The inference process does not respond.")
    assert (found.code, found.severity) == ("zero_shot_unknown", Severity.WARNING)
    assert found.message == (
        "What the parent already recognises is unknown. The inference process does not respond."
    )
    assert found.facts == {"reason": "The inference process does not respond."}
