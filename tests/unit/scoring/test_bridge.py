"""Bridges between vectors whose relation is known."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from core.scoring.search import AFFINE, ORTHOGONAL, Bridge, affine, orthogonal
from tests.unit.scoring.test_retrieval import unit

WIDTH = 8


def rotation(seed: int = 5) -> Tensor:
    return torch.linalg.qr(unit(WIDTH, seed).double()).Q


def stretch(vectors: Tensor) -> Tensor:
    return normalize(vectors.double() * torch.linspace(0.5, 2, WIDTH) + 0.1, dim=1)


def test_a_rotation_is_found_exactly_from_as_many_images_as_dimensions() -> None:
    old, turned = unit(WIDTH, 1).double(), rotation()
    weight, bias = orthogonal(old, old @ turned)
    torch.testing.assert_close(weight, turned)
    assert not bias.any()


def test_an_orthogonal_map_keeps_the_cosines_of_what_it_was_not_fitted_on() -> None:
    old, new, others = unit(30, 1).double(), unit(30, 2).double(), unit(9, 3).double()
    weight, _ = orthogonal(old, new)
    mapped = others @ weight
    torch.testing.assert_close(mapped @ mapped.T, others @ others.T)


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
    turned = Bridge.fit(old, (old.double() @ rotation()).float())
    assert turned.kind == ORTHOGONAL
    assert turned.images == 200
    assert turned.scores[ORTHOGONAL] == pytest.approx(1.0)
    stretched = Bridge.fit(old, stretch(old))
    assert stretched.kind.startswith(AFFINE)
    others = unit(50, 7)
    right = stretch(others)
    cosines = (stretched.apply(others) * right).sum(dim=1)
    assert float(cosines.mean()) > 0.99 > float((others.double() * right).sum(dim=1).mean())
