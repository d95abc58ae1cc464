"""Ranks, recall and bridges between vectors, by hand and against sorting; projections."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from core.datasets.manifests import ManifestEntry
from core.evaluation.queries import ClassQuery, RetrievalQuery
from core.recipes.fields import DEFAULT_PROMPT
from core.scoring import evaluator as retrieval
from core.scoring.evaluator import caption_ranks, image_ranks
from core.scoring.search import (
    AFFINE,
    ORTHOGONAL,
    Bridge,
    Indexes,
    affine,
    best_rows,
    compare_vectors,
    mean_of_groups,
    project,
    recall_at_10,
    search_recalls,
)
from core.values import Digest, sha256
from core.vectors.rules import Search
from tests.support.factories import an_entry


def unit(count: int, seed: int, width: int = 8) -> Tensor:
    rows = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=1)


def by_sorting(images: Tensor, captions: Tensor, owner: Tensor) -> tuple[list[int], list[int]]:
    """The same ranks from a stable sort of every row."""
    order = (images @ captions.T).argsort(dim=1, descending=True, stable=True)
    own = [min(j for j, c in enumerate(row) if owner[c] == i) for i, row in enumerate(order)]
    order = (captions @ images.T).argsort(dim=1, descending=True, stable=True)
    own_images = [row.tolist().index(int(owner[c])) for c, row in enumerate(order)]
    return own, own_images


def test_what_has_no_score_has_no_rank_and_outranks_nothing() -> None:
    nan = float("nan")
    lost = torch.tensor([[1.0, 0.0], [nan, nan], [0.0, 1.0]])
    whole = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    owner = torch.arange(3)
    assert image_ranks(lost, whole, owner) == (0, 3, 0)
    assert caption_ranks(lost, whole, owner) == (0, 3, 0)
    assert image_ranks(whole, lost, owner) == (0, 3, 0)
    nothing = torch.full((3, 2), nan)
    assert (
        image_ranks(nothing, nothing, owner) == caption_ranks(nothing, nothing, owner) == (3,) * 3
    )


@pytest.mark.parametrize("sizes", [[1] * 12, [5] * 12, [1, 2, 7, 1, 3, 1, 1, 4, 2, 1, 1, 6]])
def test_ranks_agree_with_sorting(sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "QUERIES_AT_ONCE", 5)  # several blocks, the last one short
    owner = torch.tensor([image for image, size in enumerate(sizes) for _ in range(size)])
    images, captions = unit(12, 1), unit(len(owner), 2)
    captions[-1] = captions[0]  # a tie between captions of different images
    captions[1] = captions[0]  # and of the same image, where it has several
    images[-1] = images[0]
    by_image, by_caption = by_sorting(images, captions, owner)
    assert list(image_ranks(images, captions, owner)) == by_image
    assert list(caption_ranks(images, captions, owner)) == by_caption


def test_of_images_that_share_a_caption_each_is_right() -> None:
    """A perfect model is right about all 40 images that have 8 captions, each way."""
    told = unit(8, 1, width=64)
    text, owner = torch.arange(8).repeat(5), torch.arange(40)
    captions = told[text]
    images = normalize(captions + 0.01 * unit(40, 2, width=64), dim=1)
    assert image_ranks(images, captions, owner, text) == (0,) * 40
    assert caption_ranks(images, captions, owner, text) == (0,) * 40
    assert sum(rank == 0 for rank in image_ranks(images, captions, owner)) == 8
    wrong = images.roll(1, dims=0)  # each has the features of an image with another caption
    assert 0 not in image_ranks(wrong, captions, owner, text)
    assert 0 not in caption_ranks(wrong, captions, owner, text)


def test_the_best_rows_are_those_that_a_stable_sort_puts_first() -> None:
    scores = torch.randint(5, (200, 40), generator=torch.Generator().manual_seed(1)).float()
    for count in (0, 1, 10, 40):
        first = scores.argsort(dim=1, descending=True, stable=True)[:, :count]
        assert torch.equal(best_rows(scores, count), first.sort(dim=1).values)


def on_a_line(*positions: float) -> Tensor:
    """Unit vectors whose order by similarity to the first axis is that of the positions."""
    angles = torch.tensor(positions)
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def entry(number: int, *texts: str) -> ManifestEntry:
    digest = Digest(sha256(str(number).encode()))
    return an_entry(pixels=digest, artifact=digest, texts=texts)


def test_recall_is_the_share_of_right_images_among_the_first_ten() -> None:
    index = on_a_line(*(0.05 * place for place in range(20)))
    groups = torch.zeros(20, dtype=torch.long)
    groups[[3, 9, 10]] = 1  # two of three are among the first ten
    groups[15] = 2
    query = on_a_line(0.0, 0.0, 0.0)
    found = recall_at_10(query, index, groups, torch.tensor([1, 2, 3]))
    assert found[:2].tolist() == [pytest.approx(2 / 3), 0.0]
    assert math.isnan(found[2])  # nothing is right


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


WIDTH = 8


def stretch(vectors: Tensor) -> Tensor:
    return normalize(vectors.double() * torch.linspace(0.5, 2, WIDTH) + 0.1, dim=1)


def test_an_affine_map_is_the_least_squares_solution_with_its_penalty() -> None:
    old, new, ridge = unit(40, 1).double(), unit(40, 2).double(), 0.3
    weight, bias = affine(old, new, ridge)
    centred = old - old.mean(dim=0)
    penalty = ridge * centred.square().sum() / WIDTH
    # At the minimum, both gradients are zero.
    errors = old @ weight + bias - new
    gradient = old.T @ errors + penalty * (weight - torch.eye(WIDTH).double())
    torch.testing.assert_close(gradient, torch.zeros_like(gradient))
    torch.testing.assert_close(errors.sum(dim=0), torch.zeros(WIDTH).double())


def test_the_better_map_is_chosen_on_images_that_it_was_not_fitted_on() -> None:
    old = unit(200, 1)
    rotation = torch.linalg.qr(unit(WIDTH, 5).double()).Q
    turned = Bridge.fit(old, (old.double() @ rotation).float())
    assert turned.kind == ORTHOGONAL
    assert turned.images == 200
    assert turned.scores[ORTHOGONAL] == pytest.approx(1.0)
    stretched = Bridge.fit(old, stretch(old))
    assert stretched.kind.startswith(AFFINE)
    others = unit(50, 7)
    right = stretch(others)
    cosines = (stretched.apply(others) * right).sum(dim=1)
    assert float(cosines.mean()) > 0.99 > float((others.double() * right).sum(dim=1).mean())


def test_both_versions_lie_on_the_same_axes() -> None:
    generator = torch.Generator().manual_seed(1)
    old = torch.randn(40, 8, generator=generator) * torch.tensor([9.0, 4.0] + [0.1] * 6)
    new = old + torch.tensor([0.0, 2.0] + [0.0] * 6)
    found = project(old, new)
    shift = found.new - found.old
    torch.testing.assert_close(shift, shift[:1].expand(40, 2))  # all moved by the same step
    assert abs(shift[0, 1]) > 1.9  # along the second axis, which is the second column
    assert found.explained.sum() > 0.99
    assert found.explained[0] > found.explained[1]
    distances = torch.cdist(old.double(), old.double()) - torch.cdist(found.old, found.old)
    assert distances.abs().max() < 1  # what the other axes hold


def test_a_projection_does_not_depend_on_the_sign_of_an_eigenvector() -> None:
    generator = torch.Generator().manual_seed(2)
    old, new = torch.randn(2, 10, 4, generator=generator)
    first = project(old, new)
    mirrored = project(-old, -new)
    torch.testing.assert_close(first.old, -mirrored.old)
    torch.testing.assert_close(project(old, new).new, first.new)


def test_embeddings_of_one_dimension_or_without_variance_have_points() -> None:
    line = torch.arange(4.0)[:, None]
    assert project(line, line).old[:, 1].tolist() == [0, 0, 0, 0]
    same = torch.ones(3, 4)
    assert not project(same, same).old.any()
