"""On which side a class's images fall."""

from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.datasets.manifests import Member, Side, held_out_of
from core.values import Digest
from tests.support.factories import BY_DIGEST, by_hash, digest, pixels_on, side_of

CLASSES = st.sampled_from(["cat", "dog", "owl"])


@st.composite
def drafts(draw: st.DrawFn, *, alike: bool = True) -> list[Member]:
    """Images of some classes, some of which look like others."""
    numbers = draw(st.lists(st.integers(0, 10_000), min_size=1, max_size=60, unique=True))
    found = []
    for number in numbers:
        group = draw(st.sampled_from(numbers[:5])) if alike and draw(st.booleans()) else number
        found.append((digest(number), digest(group), draw(CLASSES)))
    return found


def shares(members: list[Member], sides: Mapping[Digest, Side]) -> dict[str, tuple[int, int]]:
    """Count the images of each class, and those of them that are held out."""
    images = Counter(name for *_, name in members)
    held = Counter(name for _, group, name in members if sides[group] is Side.HOLDOUT)
    return {name: (held[name], count) for name, count in images.items()}


def cats(*groups: Digest) -> list[Member]:
    return [(group, group, "cat") for group in groups]


def held_out(members: list[Member], placed: Mapping[Digest, Side] | None = None) -> set[Digest]:
    sides = BY_DIGEST.sides(members, placed or {}, labelled=True)
    return {group for group, side in sides.items() if side is Side.HOLDOUT}


@pytest.mark.parametrize(
    ("images", "bounds"),
    [
        (1, (0, 0)),
        (2, (0, 0)),
        (3, (0, 1)),
        (4, (1, 1)),
        (6, (1, 1)),
        (7, (1, 2)),
        (10, (1, 3)),
        (80, (8, 24)),
        (200, (20, 60)),
    ],
)
def test_a_class_has_a_fewest_and_a_most_held_out_images(
    images: int, bounds: tuple[int, int]
) -> None:
    assert held_out_of(images) == bounds


@given(drafts())
def test_no_class_has_too_many_and_groups_stay_whole(members: list[Member]) -> None:
    sides = BY_DIGEST.sides(members, {}, labelled=True)
    assert sides.keys() == {group for _, group, _ in members}
    for held, images in shares(members, sides).values():
        assert held <= held_out_of(images)[1]


@given(drafts(alike=False))
def test_where_nothing_looks_alike_no_class_has_too_few_either(members: list[Member]) -> None:
    sides = BY_DIGEST.sides(members, {}, labelled=True)
    for held, images in shares(members, sides).values():
        assert held_out_of(images)[0] <= held <= held_out_of(images)[1]


@given(drafts(), st.randoms())
def test_the_order_of_images_changes_nothing(members: list[Member], random: object) -> None:
    shuffled = sorted(members, key=lambda _: random.random())  # type: ignore[attr-defined]
    assert BY_DIGEST.sides(shuffled, {}, labelled=True) == BY_DIGEST.sides(
        members, {}, labelled=True
    )


@given(drafts(), drafts(), st.booleans())
def test_placed_groups_keep_their_sides_in_any_later_split(
    first: list[Member], second: list[Member], labelled: bool
) -> None:
    placed = BY_DIGEST.sides(first, {}, labelled=labelled)
    assert BY_DIGEST.sides(first, placed, labelled=labelled) == placed
    later = BY_DIGEST.sides([*first, *second], placed, labelled=labelled)
    assert {group: later[group] for group in placed} == placed


@given(drafts())
def test_captioned_images_are_one_class_however_many_captions_they_have(
    members: list[Member],
) -> None:
    sides = BY_DIGEST.sides(members, {}, labelled=False)
    assert BY_DIGEST.sides([*members, *members[:9]], {}, labelled=False) == sides
    held = sum(sides[group] is Side.HOLDOUT for _, group, _ in members)
    assert held <= held_out_of(len(members))[1]


def test_a_class_within_its_bounds_is_split_by_its_hashes() -> None:
    groups = [digest(n) for n in range(1000)]
    assert BY_DIGEST.sides(cats(*groups), {}, labelled=True) == by_hash(groups)


def test_the_hash_that_says_holdout_least_gives_way_first() -> None:
    groups = [*pixels_on(Side.TRAIN, 51), *pixels_on(Side.HOLDOUT, 29)]
    lowest = sorted(pixels_on(Side.HOLDOUT, 29), key=hashed)[:24]
    assert held_out(cats(*groups)) == set(lowest)


def test_a_class_without_held_out_images_gets_those_of_the_lowest_hashes() -> None:
    groups = pixels_on(Side.TRAIN, 80)
    assert held_out(cats(*groups)) == set(sorted(groups, key=hashed)[:8])


def test_too_many_placed_images_leave_the_later_ones_to_training() -> None:
    placed = dict.fromkeys(pixels_on(Side.HOLDOUT, 30), Side.HOLDOUT)
    later = pixels_on(Side.HOLDOUT, 60)[30:]
    assert held_out(cats(*placed, *later), placed) == set(placed)


def test_a_group_in_two_classes_is_held_out_only_if_both_have_room() -> None:
    (group,) = pixels_on(Side.HOLDOUT, 1)
    others = pixels_on(Side.TRAIN, 9)
    both = [(group, group, "cat"), (digest("like it"), group, "dog")]
    assert group not in held_out([*both, *cats(*others)])  # the only dog
    dogs = [(one, one, "dog") for one in pixels_on(Side.TRAIN, 18)[9:]]
    assert group in held_out([*both, *cats(*others), *dogs])


def test_a_class_that_all_looks_alike_is_trained_on() -> None:
    (group,) = pixels_on(Side.HOLDOUT, 1)
    assert side_of(group) is Side.HOLDOUT
    assert held_out([(digest(n), group, "cat") for n in range(20)]) == set()


def hashed(group: Digest) -> str:
    """The digits that `side_of` reads as a number."""
    return digest(f"side:{group}")
