"""Steps off the leading singular directions."""

import pytest
import torch
from torch import Tensor, nn

from core.learning.methods import SpectralProjection, leading


def rows(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def matrix(*values: float) -> Tensor:
    """A 6 by 5 matrix with these singular values."""
    left, _ = torch.linalg.qr(rows(6, 6))
    right, _ = torch.linalg.qr(rows(5, 5, seed=1))
    return (
        left[:, : len(values)]
        @ torch.diag(torch.tensor(values).double())
        @ right[:, : len(values)].T
    )


@pytest.mark.parametrize(("share", "count"), [(0.5, 1), (0.63, 1), (0.65, 2), (0.99, 2), (1.0, 3)])
def test_the_fewest_directions_hold_the_share_of_the_energy(share: float, count: int) -> None:
    left, right = leading(matrix(8, 6, 0.1), share)  # energies 64, 36 and 0.01
    assert (left.shape, right.shape) == ((6, count), (5, count))


def test_a_step_touches_neither_side_of_the_leading_directions_and_is_the_same_elsewhere() -> None:
    parameter = nn.Parameter(matrix(8, 6, 0.1))
    left, right = leading(parameter.detach(), 0.65)
    before, step = parameter.detach().clone(), rows(6, 5, seed=2)
    projection = SpectralProjection(0.65, {"weight": parameter})
    projection.begin()
    with torch.no_grad():
        parameter += step
    projection.end()
    moved = parameter.detach() - before
    torch.testing.assert_close(left.T @ moved, torch.zeros(2, 5, dtype=torch.float64))
    torch.testing.assert_close(moved @ right, torch.zeros(6, 2, dtype=torch.float64))
    free = torch.eye(6) - left @ left.T, torch.eye(5) - right @ right.T
    torch.testing.assert_close(moved, free[0] @ step @ free[1])


def test_vectors_train_freely_and_a_kernel_is_a_matrix_of_its_first_dimension() -> None:
    vector, kernel = nn.Parameter(rows(4)), nn.Parameter(rows(3, 2, 2, 2))
    left, _ = leading(kernel.detach().flatten(1), 0.5)
    projection = SpectralProjection(0.5, {"vector": vector, "kernel": kernel})
    starts = vector.detach().clone(), kernel.detach().clone()
    projection.begin()
    with torch.no_grad():
        vector += 1
        kernel += 1
    projection.end()
    assert torch.equal(vector.detach(), starts[0] + 1)
    moved = (kernel.detach() - starts[1]).flatten(1)
    assert moved.abs().max() > 0.01
    torch.testing.assert_close(left.T @ moved, torch.zeros_like(left.T @ moved))


def test_share_0_copies_nothing_and_changes_nothing() -> None:
    parameter = nn.Parameter(rows(3, 3))
    projection = SpectralProjection(0.0, {"weight": parameter})
    projection.begin()
    with torch.no_grad():
        parameter.add_(1.0)
    expected = parameter.detach().clone()
    projection.end()
    assert torch.equal(parameter.detach(), expected)


def test_a_matrix_of_zeros_trains_freely() -> None:
    assert leading(torch.zeros(3, 2), 0.5)[0].shape == (3, 0)


@pytest.mark.parametrize("shape", [(1, 5, 4), (6, 1)])
def test_a_single_row_or_column_trains_freely(shape: tuple[int, ...]) -> None:
    parameter = nn.Parameter(rows(*shape))
    expected = parameter.detach() + 1
    projection = SpectralProjection(0.1, {"positional_embedding": parameter})
    projection.begin()
    with torch.no_grad():
        parameter += 1
    projection.end()
    assert torch.equal(parameter.detach(), expected)
