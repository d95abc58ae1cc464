"""Counts by class, side and group of near-duplicates."""

from core.datasets.manifests import DatasetStatistics, Member, Side
from core.values import Digest
from tests.support.factories import digest, pixels_on

TRAIN, HOLDOUT = pixels_on(Side.TRAIN, 3), pixels_on(Side.HOLDOUT, 1)


def member(pixels: Digest, text: str, group: Digest | None = None) -> Member:
    return Member(pixels=pixels, group=group or pixels, text=text)


def test_a_near_duplicate_is_on_the_side_of_its_group() -> None:
    rows = [
        *(member(pixels, "cat") for pixels in TRAIN),
        member(HOLDOUT[0], "dog"),
        member(digest("like the dog"), "dog", HOLDOUT[0]),
    ]
    assert DatasetStatistics.of(rows, labelled=True) == DatasetStatistics(
        sides={Side.TRAIN: 3, Side.HOLDOUT: 2},
        classes={
            "cat": {Side.TRAIN: 3, Side.HOLDOUT: 0},
            "dog": {Side.TRAIN: 0, Side.HOLDOUT: 2},
        },
        near_duplicates=1,
        groups=1,
    )


def test_a_look_alike_of_another_datasets_image_is_no_group_here() -> None:
    found = DatasetStatistics.of([member(TRAIN[0], "cat", HOLDOUT[0])], labelled=True)
    assert (found.near_duplicates, found.groups, found.images) == (1, 0, 1)


def test_an_image_with_two_captions_counts_once() -> None:
    found = DatasetStatistics.of(
        [member(TRAIN[0], "a cat"), member(TRAIN[0], "a pet")], labelled=False
    )
    assert (found.images, found.classes) == (1, {})
