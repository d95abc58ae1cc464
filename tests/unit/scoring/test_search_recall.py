"""Recall@10 by hand, and the searches of suites."""

import math

import pytest
import torch
from torch import Tensor

from core.datasets.manifests import ManifestEntry
from core.evaluation.queries import ClassQuery, RetrievalQuery
from core.recipes.fields import DEFAULT_PROMPT
from core.scoring.search import (
    Indexes,
    compare_vectors,
    mean_of_groups,
    recall_at_10,
    search_recalls,
)
from core.values import Digest, sha256
from core.vectors.rules import Search
from tests.unit.scoring.test_retrieval import unit


def on_a_line(*positions: float) -> Tensor:
    """Unit vectors whose order by similarity to the first axis is that of the positions."""
    angles = torch.tensor(positions)
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def entry(number: int, *texts: str) -> ManifestEntry:
    digest = Digest(sha256(str(number).encode()))
    return ManifestEntry(pixels=digest, artifact=digest, texts=texts)


def test_recall_is_the_share_of_right_images_among_the_first_ten() -> None:
    index = on_a_line(*(0.05 * place for place in range(20)))
    groups = torch.zeros(20, dtype=torch.long)
    groups[[3, 9, 10]] = 1  # two of three are among the first ten
    groups[15] = 2
    query = on_a_line(0.0, 0.0, 0.0)
    found = recall_at_10(query, index, groups, torch.tensor([1, 2, 3]))
    assert found[:2].tolist() == [pytest.approx(2 / 3), 0.0]
    assert math.isnan(found[2])  # nothing is right


def test_of_more_than_ten_right_images_ten_are_all() -> None:
    index = on_a_line(*(0.05 * place for place in range(20)))
    groups = torch.ones(20, dtype=torch.long)
    assert recall_at_10(on_a_line(0.0), index, groups, torch.tensor([1])).tolist() == [1.0]


def test_an_image_does_not_find_itself() -> None:
    index = on_a_line(0.0, 0.1, 1.0)
    groups = torch.tensor([0, 1, 0])
    found = recall_at_10(index, index, groups, groups, own=torch.arange(3))
    assert found[0] == found[2] == 1.0
    assert math.isnan(found[1])  # the only one of its class


def test_captions_of_an_image_count_as_one_query() -> None:
    assert mean_of_groups(
        torch.tensor([1.0, 0.0, 1.0]).double(), torch.tensor([7, 7, 9])
    ).tolist() == [0.5, 1.0]
    query = RetrievalQuery(entries=(entry(0, "a", "b"), *(entry(n, "c") for n in range(1, 15))))
    images = unit(15, 3)
    indexes = Indexes(
        raw=-images,
        bridged=images,
        reembedded=images,
        texts=torch.cat([images[:1], -images[:1], images[1:]]),
    )
    (found,) = search_recalls("pets", query, indexes)
    assert found.search is Search.TEXT_TO_IMAGE
    assert found.reembedded == found.bridged == (0.5, *(1.0,) * 14)
    assert found.raw[0] == 0.5  # the other caption
    assert sum(found.raw[1:]) < 5


def test_classes_are_searched_for_by_prompt_and_by_image() -> None:
    entries = (entry(0, "cat"), entry(1, "Cat"), entry(2, "dog"))
    query = ClassQuery(entries=entries, classes=("cat", "dog", "cow"), prompt=DEFAULT_PROMPT)
    images = on_a_line(0.0, 0.1, 1.5)
    indexes = Indexes(raw=images, bridged=images, reembedded=images, texts=on_a_line(0, 1.5, 3))
    by_text, by_image = search_recalls("pets", query, indexes)
    assert by_text.raw == (1.0, 1.0)  # nothing is a cow
    assert by_image.search is Search.IMAGE_TO_IMAGE
    assert by_image.raw == (1.0, 1.0)  # the dog has no other


def test_a_suite_of_single_images_is_not_searched_by_image() -> None:
    query = ClassQuery(entries=(entry(0, "cat"),), classes=("cat",), prompt=DEFAULT_PROMPT)
    one = unit(1, 1)
    indexes = Indexes(raw=one, bridged=one, reembedded=one, texts=one)
    (only,) = search_recalls("pets", query, indexes)
    assert only.search is Search.TEXT_TO_IMAGE


def test_a_rotated_index_keeps_its_own_neighbours_but_is_not_searched_well() -> None:
    images = unit(60, 3)
    turned = images @ torch.linalg.qr(unit(8, 4)).Q
    found = compare_vectors(
        "pets", Indexes(raw=turned, bridged=images, reembedded=images, texts=images)
    )
    assert found.neighbours_kept == pytest.approx(1.0, abs=0.02)
    assert found.neighbours_found < 0.5
    assert found.cosine < 0.5
    assert found.bridged_neighbours_found == 1.0
    assert found.bridged_cosine == pytest.approx(1.0)
