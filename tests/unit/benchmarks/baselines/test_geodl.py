"""GeoDL: the geodesic between what a batch's features span."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from benchmarks import baselines as geodl
from benchmarks.baselines import MOST_FAILURES, GeodesicFlow, geodesic_distance, subspace
from core.errors import TrainingDiverged
from core.training.trainer import TrainingSpec
from tests.support.learning.lessons import Watching, red_and_blue, with_recipe
from tests.support.learning.train_baselines import train
from tests.support.memory_artifacts import MemoryArtifacts

torch.set_num_threads(1)


@pytest.fixture
def artifacts() -> MemoryArtifacts:
    return MemoryArtifacts()


@pytest.fixture
def spec(artifacts: MemoryArtifacts) -> TrainingSpec:
    return replace(red_and_blue(artifacts), learned=("green",))


def rows(seed: int, count: int = 5, width: int = 9) -> Tensor:
    drawn = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return nn.functional.normalize(drawn.double(), dim=1)


def test_the_flow_kernel_is_the_integral() -> None:
    """Against Simpson's rule over the path's own definition: cos νθ a + sin νθ o."""
    first, second = subspace(rows(0)), subspace(rows(1))
    flow = GeodesicFlow.between(first, second)
    opposite = flow.turn / flow.turn.norm(dim=0)
    kernel = torch.zeros(9, 9, dtype=torch.float64)
    pieces = 200
    for index in range(pieces + 1):
        angle = flow.angles * index / pieces
        basis = flow.start * angle.cos() + opposite * angle.sin()
        weight = 1 if index in {0, pieces} else 4 if index % 2 else 2
        kernel += weight / (3 * pieces) * basis @ basis.T
    x, y = rows(2), rows(3)
    torch.testing.assert_close(flow.product(x, y), ((x @ kernel) * y).sum(dim=1))


def test_the_path_starts_and_ends_in_the_two_subspaces() -> None:
    first, second = subspace(rows(0)), subspace(rows(1))
    flow = GeodesicFlow.between(first, second)
    end = flow.start * flow.angles.cos() + flow.turn
    torch.testing.assert_close(flow.start @ flow.start.T, first @ first.T)
    torch.testing.assert_close(end @ end.T, second @ second.T)


def test_between_equal_subspaces_the_kernel_projects_and_the_distance_is_zero() -> None:
    old = rows(0)
    flow = GeodesicFlow.between(subspace(old), subspace(old))
    projected = old @ subspace(old) @ subspace(old).T
    torch.testing.assert_close(flow.product(old, old), (projected * old).sum(dim=1))
    new = old.clone().requires_grad_()
    distance = geodesic_distance(new, old)
    distance.backward()
    assert distance.item() == pytest.approx(0, abs=1e-12)
    assert new.grad is not None
    assert float(new.grad.abs().max()) < 1e-6


def test_the_distance_grows_with_the_change_and_pulls_back() -> None:
    old, noise = rows(0), rows(1)
    near, far = (geodesic_distance(old + size * noise, old) for size in (0.1, 0.5))
    assert 0 < near < far
    new = (old + 0.5 * noise).requires_grad_()
    geodesic_distance(new, old).backward()
    assert new.grad is not None
    assert new.grad.isfinite().all()
    assert geodesic_distance(new.detach() - 0.05 * new.grad, old) < far


def test_more_rows_than_dimensions_and_two_rows_alone_are_fine() -> None:
    for count in (2, 30):
        new = rows(0, count).float().requires_grad_()
        distance = geodesic_distance(new, rows(1, count).float())
        distance.backward()
        assert distance.isfinite()
        assert new.grad is not None
        assert new.grad.isfinite().all()
    assert geodesic_distance(rows(0, 1), rows(1, 1)) == 0


def test_the_text_term_spans_all_classes_seen(
    artifacts: MemoryArtifacts, spec: TrainingSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []

    def noting(new: Tensor, old: Tensor) -> Tensor:
        compared.append((len(new), len(old)))
        return geodesic_distance(new, old)

    monkeypatch.setattr(geodl, "geodesic_distance", noting)
    train("geodl", artifacts, with_recipe(spec, epochs=1))
    assert compared == [(4, 4), (3, 3)] * 2  # batches of four; blue, red and green


def failing_every(monkeypatch: pytest.MonkeyPatch, period: int) -> None:
    calls = iter(range(10**6))

    def distance(new: Tensor, old: Tensor) -> Tensor:
        if next(calls) % period == 0:
            raise torch.linalg.LinAlgError("did not converge")
        return geodesic_distance(new, old)

    monkeypatch.setattr(geodl, "geodesic_distance", distance)


def test_a_failed_svd_leaves_out_its_term_and_is_counted(
    artifacts: MemoryArtifacts, spec: TrainingSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_every(monkeypatch, 2)  # the first of the two terms, always
    monitor = Watching()
    trained = train("geodl", artifacts, spec, monitor)
    assert trained.notes == {"svd_failures": {"geo_i": 4, "geo_t": 0}}
    assert [terms["geo_i"] for terms in monitor.terms] == [0] * 4
    assert monitor.terms[-1]["geo_t"] > 0


def test_an_svd_that_keeps_failing_stops_the_update(
    artifacts: MemoryArtifacts, spec: TrainingSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_every(monkeypatch, 1)
    with pytest.raises(TrainingDiverged) as caught:
        train("geodl", artifacts, with_recipe(spec, epochs=10))
    assert caught.value.facts["failures"] == {"geo_i": MOST_FAILURES + 1, "geo_t": MOST_FAILURES}


def test_another_failure_is_not_swallowed(
    artifacts: MemoryArtifacts, spec: TrainingSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(new: Tensor, old: Tensor) -> Tensor:
        raise RuntimeError("a bug")

    monkeypatch.setattr(geodl, "geodesic_distance", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        train("geodl", artifacts, spec)
