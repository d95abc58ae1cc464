import random

import pytest

from core.datasets.image_lists import NEAR, SimilarImage, group_of
from core.datasets.manifests import Manifest, ManifestEntry, Side, part_of, side_of
from core.datasets.similarity import ThumbnailIndex
from core.errors import SplitConflict
from core.values import Digest
from tests.support.factories import a_dataset, a_row, digest, pixels_on

CONFLICT = "resembles known images on different sides or parts of the split: leave it out"


def like(group: Digest, distance: float) -> SimilarImage:
    return SimilarImage(group=group, distance=distance)


def placed_alike(count: int) -> list[Digest]:
    """Groups on one side and in one part."""
    where = (side_of(digest(0)), part_of(digest(0)))
    same = (d for d in map(digest, range(1000)) if (side_of(d), part_of(d)) == where)
    return [next(same) for _ in range(count)]


def test_image_without_look_alikes_is_alone() -> None:
    assert group_of([]) is None


def test_image_joins_the_group_of_its_nearest_look_alike() -> None:
    one, two = placed_alike(2)
    assert group_of([like(one, 2.0), like(two, 1.0)]) == two
    assert group_of([like(one, 1.0), like(two, 1.0)]) == min(one, two)


def test_image_between_two_sides_belongs_to_neither() -> None:
    train, holdout = pixels_on(Side.TRAIN, 1)[0], pixels_on(Side.HOLDOUT, 1)[0]
    with pytest.raises(SplitConflict, match=CONFLICT) as found:
        group_of([like(train, 1.0), like(holdout, 4.0)])
    assert found.value.facts == {"near": sorted([train, holdout])}


def test_image_between_selection_and_test_belongs_to_neither() -> None:
    held = pixels_on(Side.HOLDOUT, 50)
    first = held[0]
    other = next(pixels for pixels in held if part_of(pixels) != part_of(first))
    with pytest.raises(SplitConflict, match=CONFLICT):
        group_of([like(first, 1.0), like(other, 4.0)])


def test_group_decides_side_and_part_of_a_manifest_entry() -> None:
    oldest = pixels_on(Side.HOLDOUT, 1)[0]
    entry = ManifestEntry(
        pixels=pixels_on(Side.TRAIN, 1)[0],
        artifact=digest("bytes"),
        texts=("cat",),
        near_duplicate_of=oldest,
    )
    assert (entry.side, entry.part) == (Side.HOLDOUT, part_of(oldest))


def test_manifest_keeps_groups_and_its_digest_when_there_are_none() -> None:
    dataset = a_dataset()
    alone = Manifest.of(dataset.kind, [a_row(dataset, digest(1), "cat")])
    assert alone.to_bytes().count(b"[") == 3  # the entries, one entry, its texts
    (entry,) = alone.entries
    assert f'["{entry.pixels}","{entry.artifact}",["cat"]]'.encode() in alone.to_bytes()


def test_index_finds_what_comparing_with_all_finds() -> None:
    draw = random.Random(1)
    base = [draw.randbytes(192) for _ in range(50)]
    seen = [
        bytes(min(255, max(0, value + draw.randint(-width, width))) for value in one)
        for one in base
        for width in (0, 3, 7, 9)
    ]
    groups = [digest(n) for n in range(len(seen))]
    half = len(seen) // 2
    index = ThumbnailIndex(zip(groups[:half], (one.hex() for one in seen[:half]), strict=True))
    for group, one in zip(groups[half:], seen[half:], strict=True):
        index = index.followed_by(ThumbnailIndex([(group, one.hex())]))
    found_some = False
    for asked in base:
        distances = {
            group: (sum((a - b) ** 4 for a, b in zip(asked, one, strict=True)) / 192) ** 0.25
            for group, one in zip(groups, seen, strict=True)
        }
        wanted = {group: distance for group, distance in distances.items() if distance <= NEAR}
        found = {one.group: one.distance for one in index.near(asked.hex())}
        assert found == pytest.approx(wanted)
        found_some |= 0 < len(wanted) < len(seen)
    assert found_some


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_images_that_differ_in_one_channel_alone_are_compared_by_their_distance(
    channel: int,
) -> None:
    grey = bytes([100] * 192)
    tinted = bytes(value + 6 * (n % 3 == channel) for n, value in enumerate(grey))
    distance = (6**4 / 3) ** 0.25
    assert distance <= NEAR < 6  # the channel's mean differs by more than the images do
    (found,) = ThumbnailIndex([(digest(0), grey.hex())]).near(tinted.hex())
    assert found.distance == pytest.approx(distance)
