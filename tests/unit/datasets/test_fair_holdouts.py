"""Holdouts that somebody else's datasets, or whoever takes images away, would choose."""

from collections.abc import Iterable, Mapping

import pytest

from core.datasets.manifests import Manifest, Member, Side
from core.datasets.rules import DatasetKind
from core.errors import HoldoutBiased
from core.values import Digest
from tests.support.factories import BY_DIGEST, an_entry, digest, pixels_on, side_of

Placed = Mapping[Digest, Side]


def frozen(members: Iterable[Member], placed: Placed | None = None) -> Manifest:
    """The manifest of a labelled dataset whose groups were placed so before, or not at all."""
    members = list(members)
    sides = BY_DIGEST.sides(members, placed or {}, labelled=True)
    entries = [
        an_entry(
            pixels=pixels,
            artifact=pixels,
            texts=(name,),
            near_duplicate_of=None if group == pixels else group,
            side=sides[group],
        )
        for pixels, group, name in members
    ]
    return Manifest(kind=DatasetKind.LABELLED, entries=tuple(entries))


def images(start: int, count: int, classes: int = 1) -> list[Member]:
    found = [digest(f"image {start + number}") for number in range(count)]
    return [(pixels, pixels, f"class {n % classes}") for n, pixels in enumerate(found)]


def alone(members: Iterable[Member]) -> list[Member]:
    """The same images, each as a class of its own."""
    return [(pixels, group, pixels) for pixels, group, _ in members]


def require_fair(manifest: Manifest) -> None:
    manifest.require_fair_holdout(BY_DIGEST)


def drawn(manifest: Manifest) -> set[Digest]:
    return {entry.pixels for entry in manifest.drawn_holdout(BY_DIGEST)}


def test_no_verdict_asks_about_an_image_that_others_of_its_class_have_forced_out() -> None:
    easy, *rest = pixels_on(Side.TRAIN, 200)
    fillers = [(pixels, pixels, "filler") for pixels in rest[:3]]
    forced = frozen([*fillers, (easy, easy, "filler")], dict.fromkeys(rest[:3], Side.TRAIN))
    assert forced.sides()[easy] is Side.HOLDOUT
    taught = frozen(((one, one, "sofa") for one in (easy, *rest)), forced.sides())
    assert taught.sides()[easy] is Side.HOLDOUT
    assert easy not in drawn(taught)


@pytest.mark.parametrize("count", [4, 20, 300])
def test_what_the_bounds_of_its_own_class_hold_out_is_asked_about(count: int) -> None:
    manifest = frozen(images(0, count))
    assert drawn(manifest) == {entry.pixels for entry in manifest.on(Side.HOLDOUT)}


def test_classes_whose_images_were_placed_one_by_one_are_not_taught() -> None:
    hard, easy = images(0, 160, 2), images(1000, 40, 2)
    require_fair(frozen([*hard, *easy]))
    placed = frozen(alone(hard)).sides()
    assert {*placed.values()} == {Side.TRAIN}
    with pytest.raises(HoldoutBiased, match="placed on the training side") as told:
        require_fair(frozen([*hard, *easy], placed))
    assert told.value.facts["expected"] == 40


def test_classes_whose_held_out_images_were_taken_away_are_not_taught() -> None:
    everything = images(0, 300, 3)
    sides = frozen(everything).sides()
    left = [one for n, one in enumerate(everything) if sides[one[1]] is Side.TRAIN or n % 3 == 0]
    with pytest.raises(HoldoutBiased):
        require_fair(frozen(left, sides))


def test_copies_that_make_groups_do_not_hide_a_biased_holdout() -> None:
    hard = images(0, 200, 2)
    placed = frozen(alone(hard)).sides()
    twice = [*hard, *((digest(f"copy of {pixels}"), pixels, name) for pixels, _, name in hard)]
    with pytest.raises(HoldoutBiased):
        require_fair(frozen(twice, placed))


@pytest.mark.parametrize(("first", "then"), [(2, 8), (2, 10), (3, 8), (4, 8), (5, 30)])
def test_classes_that_were_tiny_when_they_were_first_frozen_are_taught(
    first: int, then: int
) -> None:
    for start in range(0, 100_000, 10_000):
        grown = images(start, then * 30, 30)
        placed = frozen(grown[: first * 30]).sides()
        require_fair(frozen(grown, placed))


@pytest.mark.parametrize("shots", [3, 5, 10])
def test_a_few_images_of_each_class_of_a_larger_dataset_are_taught(shots: int) -> None:
    for start in range(0, 30_000, 10_000):
        larger = images(start, 100 * 30, 30)
        require_fair(frozen(larger[: shots * 30], frozen(larger).sides()))


def test_bursts_for_which_a_class_has_no_room_are_no_bias() -> None:
    oldest = [digest(number) for number in range(5)]
    bursts = [(digest(f"{one} {n}"), one, "cat") for one in oldest for n in range(40)]
    require_fair(frozen(bursts))


def test_images_whose_near_duplicates_are_of_other_classes_count_once() -> None:
    """As drawings that differ in a detail: each is drawn once, whatever classes its group is of."""
    for start in range(0, 10_000, 1000):
        cats = images(start, 100)
        dogs = [(digest(f"dog beside {pixels}"), group, "dog") for pixels, group, _ in cats]
        require_fair(frozen([*cats, *dogs]))


def test_a_draw_that_is_not_placed_before_is_fair_but_for_one_in_a_thousand() -> None:
    refused = 0
    for start in range(0, 400_000, 1000):
        try:
            require_fair(frozen(images(start, 60, 3)))
        except HoldoutBiased:
            refused += 1
    assert refused <= 3


def test_the_side_by_hash_alone_would_be_the_same() -> None:
    members = images(0, 500)
    assert all(side is side_of(group) for group, side in frozen(members).sides().items())
