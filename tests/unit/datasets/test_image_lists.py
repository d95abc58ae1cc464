"""Image lists, groups of images, and the groups of near-duplicates."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from core.datasets.columns import WantedColumns
from core.datasets.image_lists import (
    Grouping,
    ImageGroup,
    ListedImage,
    SimilarImage,
    group_of,
    image_groups,
    name_files,
    read_image_list,
)
from core.datasets.manifests import ManifestEntry, Side
from core.datasets.rules import DatasetKind
from core.errors import ArchiveUnsafe, FieldInvalid, ImageListInvalid, SplitConflict
from core.values import Digest
from tests.support.factories import BY_DIGEST, an_entry, digest, part_of, pixels_on, side_of

LABELLED, CAPTIONED = DatasetKind.LABELLED, DatasetKind.CAPTIONED

CSV, JSONL = ("data", "list.csv"), ("list.jsonl",)


def pairs(
    path: tuple[str, ...], data: bytes, kind: DatasetKind, **wanted: str
) -> list[tuple[str, str]]:
    lines = read_image_list(path, data, kind, WantedColumns(**wanted))
    return [("/".join(one.path), one.text) for one in lines]


def test_csv_names_files_relative_to_itself() -> None:
    data = b'\xef\xbb\xbffile_name,class,note\r\na/1.png,"boot, red",x\r\n./2.png,bag\r\n'
    assert pairs(CSV, data, LABELLED) == [("data/a/1.png", "boot, red"), ("data/2.png", "bag")]
    assert pairs(CSV, b"path,caption\n1.png,a boot\n", CAPTIONED) == [("data/1.png", "a boot")]
    assert pairs(CSV, b"file,class\n", LABELLED) == []


def test_json_lines_may_have_several_captions() -> None:
    data = b'{"file": "1.png", "captions": ["a", "b"]}\n\n{"path": "2.png", "caption": "c"}'
    assert pairs(JSONL, data, CAPTIONED) == [("1.png", "a"), ("1.png", "b"), ("2.png", "c")]
    assert pairs(JSONL, b'{"file": "1", "class": "a", "captions": ["b"]}', LABELLED) == [("1", "a")]


@pytest.mark.parametrize(
    ("path", "data", "kind", "entry"),
    [
        (CSV, b"file,class\n1,a\n2\n", LABELLED, 2),
        (CSV, b"name,class\n1,a\n", LABELLED, 1),
        (CSV, b"file,other\n1,a\n", LABELLED, 1),
        (CSV, b"file,class\n,a\n", LABELLED, 1),
        (CSV, b'file,class\n1,a\n2,"b\n', LABELLED, 2),
        (CSV, b"file,class\n1,\xff\n", LABELLED, 1),
        (JSONL, b'{"file": "1", "class": "a"}\n{"file": "2"}', LABELLED, 2),
        (JSONL, b'{"file": "1", "class": "a"}\n{"file', LABELLED, 2),
        (JSONL, b'{"file": "1", "class": 7}', LABELLED, 1),
        (JSONL, b"null", LABELLED, 1),
        (JSONL, b'{"file": ".", "class": "a"}', LABELLED, 1),
        (JSONL, b'{"file": ["1"], "class": "a"}', LABELLED, 1),
        (CSV, b"file,class" + b"," * 1_000 + b"\n1,a\n", LABELLED, 1),
        (JSONL, b'{"file": "1", "class": "a", "x": "' + b"x" * 1_000_000 + b'"}', LABELLED, 1),
        (JSONL, b"[" * 100_000, LABELLED, 1),
        (JSONL, b'{"file": "1", "class": "a"}', CAPTIONED, 1),
        (JSONL, b'{"file": "1", "captions": []}', CAPTIONED, 1),
        (JSONL, b'{"file": "1", "captions": ["a", 1]}', CAPTIONED, 1),
    ],
)
def test_an_entry_that_cannot_be_read_is_named(
    path: tuple[str, ...], data: bytes, kind: DatasetKind, entry: int
) -> None:
    with pytest.raises(ImageListInvalid) as caught:
        pairs(path, data, kind)
    assert caught.value.facts == {"file": "/".join(path), "entry": entry}
    assert "list." not in caught.value.message  # which is logged, and names of files never are


def test_no_more_is_kept_of_a_text_than_what_is_too_long() -> None:
    data = b"file,class\n1,%s%s\n" % (b" " * 5_000, b"x" * 5_000)
    assert pairs(CSV, data, LABELLED) == [("data/1", "x" * 2_000)]


def test_an_entry_may_not_name_a_file_outside() -> None:
    with pytest.raises(ArchiveUnsafe):
        pairs(CSV, b"file,class\n../1.png,a\n", LABELLED)


def named(
    files: list[tuple[str, ...]], listed: list[ListedImage] | None, kind: DatasetKind
) -> list[tuple[int | None, str, str | None]]:
    found = name_files(files, listed, kind)
    return [(one.index, one.text, one.refusal and one.refusal.code) for one in found]


def test_without_a_list_the_folder_is_the_class() -> None:
    files = [("x", "boot", "1"), ("2",)]
    assert named(files, None, LABELLED) == [(0, "boot", None), (1, "", "text_missing")]
    assert named(files[:1], None, CAPTIONED) == [(0, "", "text_missing")]


def test_with_a_list_folders_say_nothing_even_if_it_is_empty() -> None:
    files = [("boot", "1"), ("boot", "2")]
    listed = [ListedImage(path=("boot", "2"), text=text) for text in ("bag", "hat")]
    listed.append(ListedImage(path=("3",), text="bag"))
    assert named(files, listed, LABELLED) == [
        (1, "bag", None),
        (1, "hat", None),
        (None, "bag", "file_missing"),
        (0, "", "text_missing"),
    ]
    assert named(files[:1], [], LABELLED) == [(0, "", "text_missing")]
    twice = [("2",), ("2",)]
    assert named(twice, [ListedImage(path=("2",), text="bag")], LABELLED) == [
        (1, "bag", None),
        (0, "", "text_missing"),
    ]


BEGAN = datetime(2026, 11, 26, 20, 10, tzinfo=UTC)


def images(*classes: str) -> list[ManifestEntry]:
    return [
        an_entry(pixels=digest(number), artifact=digest(number), texts=(name,))
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
        an_entry(
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


CONFLICT = "resembles known images on different sides or parts of the split: leave it out"


def like(group: Digest, distance: float) -> SimilarImage:
    return SimilarImage(group=group, distance=distance)


def test_image_joins_the_group_of_its_nearest_look_alike_if_it_has_one() -> None:
    where = (side_of(digest(0)), part_of(digest(0)))
    one, two, *_ = (d for d in map(digest, range(99)) if (side_of(d), part_of(d)) == where)
    assert group_of([], {}, BY_DIGEST) is None
    assert group_of([like(one, 2.0), like(two, 1.0)], {}, BY_DIGEST) == two
    assert group_of([like(one, 1.0), like(two, 1.0)], {}, BY_DIGEST) == min(one, two)


def test_image_between_two_sides_or_two_parts_belongs_to_neither() -> None:
    first, *others = pixels_on(Side.HOLDOUT, 50)
    on_another_side = next(
        one for one in pixels_on(Side.TRAIN, 50) if part_of(one) is part_of(first)
    )
    in_another_part = next(one for one in others if part_of(one) is not part_of(first))
    for other in (on_another_side, in_another_part):
        with pytest.raises(SplitConflict, match=CONFLICT) as found:
            group_of([like(first, 1.0), like(other, 4.0)], {}, BY_DIGEST)
        assert found.value.facts == {"near": sorted([first, other])}


def test_group_decides_side_and_part_of_a_manifest_entry() -> None:
    oldest = pixels_on(Side.HOLDOUT, 1)[0]
    entry = an_entry(
        pixels=pixels_on(Side.TRAIN, 1)[0],
        artifact=digest("bytes"),
        texts=("cat",),
        near_duplicate_of=oldest,
    )
    assert (entry.side, entry.part) == (Side.HOLDOUT, part_of(oldest))
