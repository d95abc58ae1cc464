"""Projections of two versions' embeddings."""

import torch

from core.scoring.search import project


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
