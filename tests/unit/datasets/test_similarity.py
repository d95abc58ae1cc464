"""Near-duplicates by thumbnails: the index against comparing all with all."""

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.datasets import similarity
from core.datasets.image_lists import NEAR
from core.datasets.similarity import MOST_KEPT, Arrivals, Placing, ThumbnailIndex, distance_of
from core.values import Digest
from tests.support.factories import digest

Thumbnails = NDArray[np.uint8]  # (n, 192)
UNTIMED = settings(deadline=None, max_examples=40)
CASES = st.tuples(st.integers(0, 2**32), st.integers(0, 150), st.integers(1, 12))


@pytest.fixture(scope="module", autouse=True)
def _small_parts() -> Iterator[None]:
    """Have few thumbnails take every way that many take."""
    with pytest.MonkeyPatch.context() as patch:
        small = {"_LEAF": 4, "_SOUGHT": 60, "_FEW": 16, "_ASKING": 4, "_ASKED": 8, "_PAIRS": 50}
        small["_SETTLING"] = 8
        for name, size in small.items():
            patch.setattr(similarity, name, size)
        yield


def drawn(seed: int, count: int, kinds: int) -> Thumbnails:
    """Thumbnails that are near to some others, flat or rich, with light and dark ends."""
    choice = np.random.default_rng(seed)
    contrast = choice.choice([0, 20, 400], (kinds, 1))
    bases = choice.uniform(0, 255, (kinds, 1)) + contrast * choice.uniform(-1, 1, (kinds, 192))
    width = choice.choice([0, 2, 7, 8, 9], (count, 1))
    moved = bases[choice.integers(0, kinds, count)] + width * choice.uniform(-1, 1, (count, 192))
    return moved.clip(0, 255).round().astype(np.uint8)


def as_text(thumbnails: Thumbnails) -> list[str]:
    return [one.tobytes().hex() for one in thumbnails]


def near_pairs(asked: Thumbnails, known: Thumbnails) -> Mapping[tuple[int, int], float]:
    """The distances of near-duplicates, found by comparing all with all."""
    apart = asked[:, None].astype(np.int64) - known[None].astype(np.int64)
    distances = ((apart**4).sum(axis=2) / 192) ** 0.25
    return {
        (int(one), int(other)): float(distances[one, other])
        for one, other in np.argwhere(distances <= NEAR)
    }


def index_of(groups: Sequence[Digest], thumbnails: Thumbnails, first: int = 1) -> ThumbnailIndex:
    """The index of some images, the first of which has a position."""
    rows = list(zip(itertools.count(first), groups, as_text(thumbnails)))
    pages = [rows[start : start + 20] for start in range(0, len(rows), 20)]
    return ThumbnailIndex.of(pages, position=first - 1)


def placing_of(thumbnails: Thumbnails, groups: Mapping[int, Digest]) -> Placing:
    """Thumbnails that have arrived together, some of which have a group."""
    placing = Placing(Arrivals(as_text(thumbnails)))
    for number, group in groups.items():
        placing.put(number, group)
    return placing


@UNTIMED
@given(CASES, st.lists(st.integers(0, 150), max_size=4))
def test_index_finds_what_comparing_with_all_finds_however_it_grew(
    case: tuple[int, int, int], cuts: Sequence[int]
) -> None:
    known, asked = drawn(*case), drawn(case[0], 40, case[2])
    groups = [digest(number % 50) for number in range(len(known))]  # some have several images
    index, ends = ThumbnailIndex(), [0, *sorted(min(cut, len(known)) for cut in cuts), len(known)]
    for start, end in itertools.pairwise(ends):
        index = index.followed_by(index_of(groups[start:end], known[start:end], start + 1))
    assert index.position == len(known)
    wanted: dict[tuple[str, Digest], float] = {}
    texts = as_text(asked)
    for (one, other), distance in near_pairs(asked, known).items():
        place = texts[one], groups[other]
        wanted[place] = min(distance, wanted.get(place, distance))
    found = {
        (text, similar.group): similar.distance
        for text, near in index.near(texts).items()
        for similar in near
    }
    assert found == pytest.approx(wanted)


@UNTIMED
@given(CASES)
def test_images_that_arrive_together_are_compared_each_with_all(case: tuple[int, int, int]) -> None:
    thumbnails = np.unique(drawn(*case), axis=0)
    placed = {number: digest(number) for number in range(0, len(thumbnails), 2)}
    placing = placing_of(thumbnails, placed)
    pairs = near_pairs(thumbnails, thumbnails)
    for number in range(len(thumbnails)):
        wanted = {
            placed[other]: distance
            for (one, other), distance in pairs.items()
            if one == number and other in placed
        }
        found = {near.group: near.distance for near in placing.near(number)}
        assert found == pytest.approx(wanted)


def test_of_a_film_every_frame_finds_every_other_though_not_all_pairs_are_kept() -> None:
    frames = np.random.default_rng(0).integers(100, 104, (2 * MOST_KEPT, 192), np.uint8)
    placing = placing_of(frames, {number: digest(number) for number in range(len(frames))})
    for number in range(len(frames)):
        assert len(placing.near(number)) == len(frames)


@UNTIMED
@given(CASES, st.integers(1, 4), st.sampled_from([(), (digest(0),), (digest(9),)]))
@example((0, 120, 3), 1, (digest(9),))
@example((0, 120, 3), 3, ())
def test_of_crowded_images_all_groups_are_found_at_their_least_distance_if_there_are_several(
    case: tuple[int, int, int], groups: int, beside: Sequence[Digest]
) -> None:
    thumbnails = np.unique(drawn(*case), axis=0)
    chance = np.random.default_rng(case[0])
    chosen = chance.integers(-1, groups, len(thumbnails)).tolist()
    placed = {number: digest(group) for number, group in enumerate(chosen) if group >= 0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarity, "MOST_KEPT", 3)
        placing = placing_of(thumbnails, placed)
        pairs = near_pairs(thumbnails, thumbnails)
        for number in range(len(thumbnails)):
            wanted: dict[Digest, list[float]] = {}
            for (one, other), distance in pairs.items():
                if one == number and other in placed:
                    wanted.setdefault(placed[other], []).append(distance)
            found = {near.group: near.distance for near in placing.near(number, beside)}
            assert found.keys() == wanted.keys()
            if len(found.keys() | set(beside)) > 1:
                assert found == pytest.approx({one: min(near) for one, near in wanted.items()})
            else:
                assert all(d == pytest.approx(found[g], abs=NEAR) for g, (d, *_) in wanted.items())


def test_of_a_film_that_is_one_group_few_frames_are_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All pairs of 20,000 would take a minute, and half of it within a transaction."""
    count = 8 * MOST_KEPT
    frames = np.random.default_rng(0).integers(100, 104, (count, 192), np.uint8)
    compared: list[int] = []
    whole = similarity._fourths

    def counted(these: Thumbnails, those: Thumbnails) -> NDArray[np.float32]:
        compared.append(len(those))
        return whole(these, those)

    monkeypatch.setattr(similarity, "_fourths", counted)
    monkeypatch.setattr(similarity, "_SETTLING", MOST_KEPT)
    placing = placing_of(frames, {})
    assert sum(compared) < count * 2 * MOST_KEPT  # not all of count * (count - 1) / 2
    compared.clear()
    for number in range(count):
        near = placing.near(number)
        assert [one.group for one in near] == ([digest(0)] if number else [])
        placing.put(number, digest(0))
    assert sum(compared) < count


def test_thumbnails_at_the_very_bound_are_near_and_just_beyond_it_are_not() -> None:
    base = np.full((1, 192), 100, np.uint8)
    in_few, beyond = base.copy(), base.copy()
    in_few[0, :12] += 10  # 12 * 10^4 is 5^4 * 192
    beyond[0, :12] += 10
    beyond[0, 12] += 1
    others = np.random.default_rng(0).integers(0, 256, (200, 192), np.uint8)
    known = np.concatenate([base + 5, in_few, beyond, others])  # all differences in one coordinate
    near = index_of([digest(number) for number in range(len(known))], known).near(as_text(base))
    ((found, distances),) = [
        ({similar.group for similar in same}, {similar.distance for similar in same})
        for same in near.values()
    ]
    assert (found, distances) == ({digest(0), digest(1)}, {NEAR})
    assert distance_of(120_001) > NEAR


def test_each_grey_is_near_to_the_next_in_whichever_leaf_that_is() -> None:
    greys = np.repeat(np.arange(0, 256, 5, dtype=np.uint8)[:, None], 192, axis=1)
    numbers = range(len(greys))
    placed = {number: digest(number) for number in numbers}
    placing = placing_of(greys, placed)
    for number in numbers:
        near = {similar.group for similar in placing.near(number)}
        around = {number - 1, number, number + 1}
        assert near == {placed[other] for other in numbers if other in around}


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_images_that_differ_in_one_channel_alone_are_compared_by_their_distance(
    channel: int,
) -> None:
    grey = np.full((1, 192), 100, np.uint8)
    tinted = grey + 6 * (np.arange(192) % 3 == channel).astype(np.uint8)
    distance = (6**4 / 3) ** 0.25
    assert distance <= NEAR < 6  # the channel's mean differs by more than the images do
    ((found,),) = index_of([digest(0)], grey).near(as_text(tinted)).values()
    assert found.distance == pytest.approx(distance)


def test_nothing_is_near_where_nothing_is() -> None:
    assert ThumbnailIndex().near(["00" * 192]) == {}
    assert index_of([digest(0)], np.zeros((1, 192), np.uint8)).near([]) == {}
    assert Arrivals([]).numbers == {}
