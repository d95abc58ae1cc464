"""The formulas of the methods that are only compared with, against numbers worked by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from benchmarks.baselines.geodesics import GeodesicFlow, subspace
from benchmarks.baselines.gradient_memory import project
from benchmarks.baselines.moments import FLOOR, fisher, merge
from benchmarks.baselines.rectification import Rectification


def test_projection_removes_what_points_against_the_memory() -> None:
    own = [torch.tensor([1.0, 2.0]), torch.tensor([[-2.0]])]
    reference = [torch.tensor([0.0, 1.0]), torch.tensor([[3.0]])]
    assert project(own, reference)  # g·g_r = -4, g_r·g_r = 10
    torch.testing.assert_close(own, [torch.tensor([1.0, 2.4]), torch.tensor([[-0.8]])])
    assert not project(own, reference)


def test_the_merge_is_the_formula_by_hand() -> None:
    new, old = {"w": torch.tensor([1.0, 1.0, 5.0])}, {"w": torch.tensor([0.0, 0.0, 3.0])}
    sharp_new, sharp_old = {"w": torch.tensor([3.0, 0.0, 0.0])}, {"w": torch.tensor([1.0, 2.0, 0])}
    merged = merge(new, old, (sharp_new, sharp_old), 0.25)["w"]
    floor = FLOOR * 1.0  # the mean of 3, 0, 0, 1, 2, 0
    first = 0.25 * 3 / (0.25 * 3 + 0.75 * 1)
    second = 0.25 * floor / (0.25 * floor + 0.75 * 2)
    plain = 0.25 * 5 + 0.75 * 3
    torch.testing.assert_close(merged, torch.tensor([first, second, plain]))


@pytest.mark.parametrize("group", [1, 8])
def test_the_fisher_of_a_logistic_model_is_known(group: int) -> None:
    """p = σ(w·x): F_j is the mean of p (1 − p) x_j², whatever the size of the groups."""
    generator = torch.Generator().manual_seed(5)
    inputs = 0.5 + torch.rand(1000 * group, 2, generator=generator)
    w = nn.Parameter(torch.tensor([1.5, -0.5]))

    def log_probabilities(rows: Tensor) -> Tensor:
        score = rows @ w
        return torch.stack([nn.functional.logsigmoid(score), nn.functional.logsigmoid(-score)], 1)

    found = fisher(log_probabilities, {"w": w}, inputs.split(group), generator)["w"]
    p = torch.sigmoid(inputs @ w.detach())
    expected = ((p * (1 - p))[:, None] * inputs.square()).mean(0)
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0)


def test_the_flow_kernel_is_the_integral() -> None:
    """Against Simpson's rule over the path's own definition: cos νθ a + sin νθ o."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(4, 5, 9, generator=generator, dtype=torch.float64)
    first, second, x, y = nn.functional.normalize(drawn, dim=2)
    flow = GeodesicFlow.between(subspace(first), subspace(second))
    opposite = flow.turn / flow.turn.norm(dim=0)
    kernel = torch.zeros(9, 9, dtype=torch.float64)
    pieces = 200
    for index in range(pieces + 1):
        angle = flow.angles * index / pieces
        basis = flow.start * angle.cos() + opposite * angle.sin()
        weight = 1 if index in {0, pieces} else 4 if index % 2 else 2
        kernel += weight / (3 * pieces) * basis @ basis.T
    torch.testing.assert_close(flow.product(x, y), ((x @ kernel) * y).sum(dim=1))


@pytest.mark.parametrize(
    ("shape", "transposed"), [((6, 5), False), ((5, 6), True), ((6, 3, 2, 2), False)]
)
def test_a_rectified_weight_is_the_formula_and_starts_as_it_was(
    shape: tuple[int, ...], transposed: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(*shape, generator=generator, dtype=torch.float64)
    made = Rectification(weight, generator, rank=2, transposed=transposed)
    assert torch.equal(made(weight), weight)
    for parameter in made.parameters():
        drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data.copy_(drawn)
    A, B, s = (parameter.detach() for parameter in (made.A, made.B, made.s))
    matrix, found = (
        one.T if transposed else one.reshape(6, -1) for one in (weight, made(weight).detach())
    )
    torch.testing.assert_close(found, torch.diag(1 + s) @ (matrix + A @ B))
