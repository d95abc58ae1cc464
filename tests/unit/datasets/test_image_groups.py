"""Groups of training images: by upload, by class, at random."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from core.datasets.image_lists import Grouping, ImageGroup, image_groups
from core.datasets.manifests import ManifestEntry
from core.errors import FieldInvalid
from core.values import Digest
from tests.support.factories import digest

BEGAN = datetime(2026, 11, 26, 20, 10, tzinfo=UTC)


def images(*classes: str) -> list[ManifestEntry]:
    return [
        ManifestEntry(pixels=digest(number), artifact=digest(number), texts=(name,))
        for number, name in enumerate(classes)
    ]


def groups(
    entries: Sequence[ManifestEntry],
    by: Grouping,
    most: int = 20,
    *,
    minutes: Sequence[int] = (),
    seed: int = 0,
) -> tuple[ImageGroup, ...]:
    """Return the groups of images that came so many minutes after the first."""
    added = {
        entry.pixels: BEGAN + timedelta(minutes=late)
        for entry, late in zip(entries, minutes, strict=False)
    }
    return image_groups(entries, by, most=most, added_at=added, seed=seed)


def members(found: Sequence[ImageGroup]) -> list[set[Digest]]:
    return [set(group.pixels) for group in found]


def test_images_of_one_upload_are_together_in_the_order_of_uploads() -> None:
    entries = images(*["cat"] * 5)
    found = groups(entries, Grouping.UPLOAD, minutes=(7, 0, 7, 3, 0))
    assert members(found) == [
        {entries[1].pixels, entries[4].pixels},
        {entries[3].pixels},
        {entries[0].pixels, entries[2].pixels},
    ]
    assert [group.name for group in found] == [
        "upload 2026-11-26T20:10:00Z",
        "upload 2026-11-26T20:13:00Z",
        "upload 2026-11-26T20:17:00Z",
    ]
    assert found[0].pixels == tuple(sorted(found[0].pixels))


def test_images_whose_upload_is_unknown_are_a_group_of_their_own() -> None:
    entries = images("cat", "cat", "cat")
    found = groups(entries, Grouping.UPLOAD, minutes=(0, 5))
    assert [group.name for group in found] == [
        "upload unknown",
        "upload 2026-11-26T20:10:00Z",
        "upload 2026-11-26T20:15:00Z",
    ]


def test_neighbouring_uploads_share_a_group_of_about_equal_size_if_they_are_too_many() -> None:
    entries = images(*["cat"] * 12)
    minutes = (0, 1, 2, 3, 4, 4, 4, 4, 5, 6, 7, 8)
    found = groups(entries, Grouping.UPLOAD, 3, minutes=minutes)
    assert [len(group.entries) for group in found] == [4, 4, 4]
    assert [group.name for group in found] == [
        "uploads 2026-11-26T20:10:00Z to 2026-11-26T20:13:00Z",
        "upload 2026-11-26T20:14:00Z",
        "uploads 2026-11-26T20:15:00Z to 2026-11-26T20:18:00Z",
    ]


def test_a_huge_upload_never_swallows_all_others() -> None:
    for minutes in ((0, *[1] * 50, 2), (0, 1, *[2] * 50), (*[0] * 50, 1, 2)):
        found = groups(images(*["cat"] * 52), Grouping.UPLOAD, 2, minutes=minutes)
        assert len(found) == 2
        assert sum(len(group.entries) for group in found) == 52


def test_images_of_a_class_are_together() -> None:
    found = groups(images("dog", "cat", "dog", "bee"), Grouping.CLASS)
    assert [(group.name, group.counts) for group in found] == [
        ("class bee", {"bee": 1}),
        ("class cat", {"cat": 1}),
        ("class dog", {"dog": 2}),
    ]
    shared = groups(images("dog", "cat", "dog", "bee"), Grouping.CLASS, 2)
    assert [(group.name, group.counts) for group in shared] == [
        ("classes bee to cat", {"bee": 1, "cat": 1}),
        ("class dog", {"dog": 2}),
    ]


def test_random_groups_have_a_share_of_every_class_and_depend_on_the_seed_alone() -> None:
    entries = images(*["cat", "dog"] * 10)
    found = groups(entries, Grouping.RANDOM, 5)
    assert [group.counts for group in found] == [{"cat": 2, "dog": 2}] * 5
    assert set().union(*members(found)) == {entry.pixels for entry in entries}
    assert members(groups(entries[::-1], Grouping.RANDOM, 5)) == members(found)
    assert members(groups(entries, Grouping.RANDOM, 5, seed=1)) != members(found)


def test_near_duplicates_are_in_the_same_random_group() -> None:
    first, *others = images(*["cat"] * 9)
    alike = [
        ManifestEntry(
            pixels=digest(f"like {number}"),
            artifact=digest(number),
            texts=("cat",),
            near_duplicate_of=first.pixels,
        )
        for number in range(3)
    ]
    found = groups([first, *others, *alike], Grouping.RANDOM, 4)
    together = {first.pixels, *(entry.pixels for entry in alike)}
    assert [together <= group for group in members(found)].count(True) == 1


@pytest.mark.parametrize("by", list(Grouping))
def test_one_group_is_none_to_leave_out(by: Grouping) -> None:
    with pytest.raises(FieldInvalid) as refused:
        groups(images("cat")[:1], by, minutes=(0,))
    assert refused.value.pointer == "/by"
    assert by.value in refused.value.message
