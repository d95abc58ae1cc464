"""Which images of earlier updates are replayed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from core.datasets.manifests import ManifestEntry
from core.learning.data import choose_exemplars, herd
from core.recipes.fields import ExemplarChoice
from tests.support.factories import digest


def rows(count: int, seed: int = 0, width: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(count, width, generator=generator) + 0.5
    return torch.nn.functional.normalize(drawn, dim=1)


def entries(**counts: int) -> list[ManifestEntry]:
    """So many images of each class, the classes interleaved."""
    named = [
        (number, name.replace("_", " "), ManifestEntry(pixels=one, artifact=one, texts=(name,)))
        for name, count in counts.items()
        for number in range(count)
        for one in [digest((name, number))]
    ]
    return [entry for _, _, entry in sorted(named, key=lambda row: row[:2])]


def encode(images: Sequence[ManifestEntry]) -> Tensor:
    """Random features, the same for an image wherever it stands."""
    return torch.cat([rows(1, seed=int(image.pixels[:8], 16)) for image in images])


def chosen(
    candidates: Sequence[ManifestEntry],
    count: int = 1000,
    choice: ExemplarChoice = ExemplarChoice.HERDING,
    seed: int = 0,
) -> tuple[ManifestEntry, ...]:
    return choose_exemplars(candidates, encode, count=count, choice=choice, seed=seed)


def classes(found: Sequence[ManifestEntry]) -> dict[str, int]:
    return dict(Counter(entry.class_name for entry in found))


def greedy_by_hand(features: Tensor, count: int) -> list[int]:
    """iCaRL's choice: each next image brings the mean of those chosen nearest to the class's."""
    points = features.double().tolist()
    mean = [sum(axis) / len(points) for axis in zip(*points, strict=True)]
    kept: list[int] = []
    while len(kept) < count:

        def distance(index: int) -> float:
            group = [points[one] for one in (*kept, index)]
            centre = [sum(axis) / len(group) for axis in zip(*group, strict=True)]
            return sum((a - b) ** 2 for a, b in zip(mean, centre, strict=True))

        kept.append(min((i for i in range(len(points)) if i not in kept), key=distance))
    return kept


@pytest.mark.parametrize("seed", range(5))
def test_herding_is_the_greedy_choice_by_hand(seed: int) -> None:
    features = rows(12, seed)
    assert herd(features, 7) == greedy_by_hand(features, 7)


def test_herding_takes_no_image_twice_and_no_more_than_there_are() -> None:
    same = torch.ones(4, 3)
    assert herd(same, 3) == [0, 1, 2]
    assert sorted(herd(rows(5), 9)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("choice", ExemplarChoice)
def test_every_class_has_equally_many(choice: ExemplarChoice) -> None:
    found = chosen(entries(okapi=20, ibis=5, newt=9), 10, choice)
    assert classes(found) == {"ibis": 3, "newt": 3, "okapi": 3}
    assert len(set(found)) == 9


@pytest.mark.parametrize(
    ("count", "kept"), [(1000, {"okapi": 60, "ibis": 2}), (10, {"okapi": 5, "ibis": 2})]
)
@pytest.mark.parametrize("choice", ExemplarChoice)
def test_a_class_with_fewer_images_gives_all_it_has(
    choice: ExemplarChoice, count: int, kept: dict[str, int]
) -> None:
    assert classes(chosen(entries(okapi=60, ibis=2), count, choice)) == kept


def test_no_class_goes_without() -> None:
    found = chosen(entries(okapi=4, ibis=4, newt=4), 2)
    assert classes(found) == {"ibis": 1, "newt": 1, "okapi": 1}


@pytest.mark.parametrize("choice", ExemplarChoice)
def test_names_that_differ_in_case_alone_are_one_class(choice: ExemplarChoice) -> None:
    found = chosen(entries(Okapi=10, okapi=10, ibis=10), 8, choice)
    assert Counter(entry.class_name.lower() for entry in found) == {"okapi": 4, "ibis": 4}


def test_a_random_choice_is_its_seeds_and_no_class_depends_on_another() -> None:
    def of(seed: int, **counts: int) -> set[ManifestEntry]:
        found = chosen(entries(**counts), 5 * len(counts), ExemplarChoice.RANDOM, seed)
        return {e for e in found if e.class_name == "okapi"}

    assert of(0, okapi=20) != of(1, okapi=20)
    assert of(0, okapi=20) == of(0, okapi=20, ibis=20)
