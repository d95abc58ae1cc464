"""Ranks by counting, against hand-worked scores and against sorting."""

import pytest
import torch
from torch import Tensor

from core.scoring import evaluator as retrieval
from core.scoring.evaluator import caption_ranks, image_ranks
from core.scoring.search import best_rows, nearest, neighbours_kept, share_in_common


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


def test_one_caption_each_by_hand() -> None:
    images = torch.eye(3)
    captions = torch.tensor([[0.9, 0.0, 0.1], [0.8, 0.5, 0.2], [0.0, 0.6, 0.3]])
    owner = torch.tensor([0, 1, 2])
    # image 0 scores .9 .8 0; image 1 scores 0 .5 .6; image 2 scores .1 .2 .3
    assert image_ranks(images, captions, owner) == (0, 1, 0)
    # caption 0 scores .9 0 .1; caption 1 scores .8 .5 .2; caption 2 scores 0 .6 .3
    assert caption_ranks(images, captions, owner) == (0, 1, 1)


def test_ties_go_to_the_lower_index() -> None:
    images = torch.ones(4, 1)
    captions = torch.ones(4, 1)
    owner = torch.arange(4)
    assert image_ranks(images, captions, owner) == (0, 1, 2, 3)
    assert caption_ranks(images, captions, owner) == (0, 1, 2, 3)


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


def test_tied_own_captions_count_once_by_their_first() -> None:
    images = torch.ones(2, 1)
    captions = torch.ones(4, 1)
    assert image_ranks(images, captions, torch.tensor([1, 1, 0, 0])) == (2, 0)


@pytest.mark.parametrize("sizes", [[1] * 12, [5] * 12, [1, 2, 7, 1, 3, 1, 1, 4, 2, 1, 1, 6]])
def test_ranks_agree_with_sorting(sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "QUERIES_AT_ONCE", 5)  # several blocks, the last one short
    owner = torch.tensor([image for image, size in enumerate(sizes) for _ in range(size)])
    images, captions = unit(12, 1), unit(len(owner), 2)
    captions[-1] = captions[0]  # a tie between captions of different images
    by_image, by_caption = by_sorting(images, captions, owner)
    assert list(image_ranks(images, captions, owner)) == by_image
    assert list(caption_ranks(images, captions, owner)) == by_caption


def test_neighbours_kept_is_a_share() -> None:
    line = torch.nn.functional.normalize(
        torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 1.0], [1.0, 1.1]]), dim=1
    )
    swapped = line[[0, 2, 1, 3]]
    one, other = nearest(line, line, count=1), nearest(swapped, swapped, count=1)
    assert share_in_common(one, one) == neighbours_kept(line, swapped) == 1.0  # all others
    assert share_in_common(one, other) == 0.0


def test_the_best_rows_are_those_that_a_stable_sort_puts_first() -> None:
    scores = torch.randint(5, (200, 40), generator=torch.Generator().manual_seed(1)).float()
    for count in (0, 1, 10, 40):
        first = scores.argsort(dim=1, descending=True, stable=True)[:, :count]
        assert torch.equal(best_rows(scores, count), first.sort(dim=1).values)
