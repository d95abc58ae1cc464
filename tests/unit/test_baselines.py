"""The methods that are only compared with: each trains, and does what it is named for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from benchmarks.baselines import geodl
from benchmarks.baselines.a_gem import AGem, project
from benchmarks.baselines.catalogue import BASELINES
from benchmarks.baselines.fisher import FLOOR, fisher, merge
from benchmarks.baselines.geodesic import GeodesicFlow, geodesic_distance, subspace
from benchmarks.baselines.geodl import MOST_FAILURES
from benchmarks.baselines.imm_mode import ModeImm
from benchmarks.baselines.zscl_lwfvr import LENGTH, SENTENCES, ZsclLwfVr
from core.clip.weights import load, read_state
from core.domain.recipe import Method, Recipe
from core.domain.version import Weights
from core.errors import ModelNotTrainable, TrainingDiverged
from core.learning.beginning import begin
from core.learning.columns import Columns
from core.learning.session import UpdateTrainer
from core.learning.update import Update
from core.learning.vocabulary import RandomSentences
from core.ports import Trained, TrainingTask
from tests.unit.lessons import Watching, red_and_blue, with_recipe
from tests.unit.memory_artifacts import MemoryArtifacts

torch.set_num_threads(1)
CPU = torch.device("cpu")


@pytest.fixture
def artifacts() -> MemoryArtifacts:
    return MemoryArtifacts()


@pytest.fixture
def task(artifacts: MemoryArtifacts) -> TrainingTask:
    return replace(red_and_blue(artifacts), learned=("green",))


def train(
    name: str, artifacts: MemoryArtifacts, task: TrainingTask, watch: Watching | None = None
) -> Trained:
    baseline = BASELINES[name]
    trainer = UpdateTrainer(artifacts, device=CPU, threads=1, make_method=baseline.make)
    lesson = with_recipe(task, **baseline.recipe)
    return trainer.train(lesson, resume=None, watch=watch or Watching())


def tensors(artifacts: MemoryArtifacts, weights: Weights) -> dict[str, Tensor]:
    return dict(read_state(weights, artifacts))


def begun(
    name: str, artifacts: MemoryArtifacts, task: TrainingTask
) -> tuple[Update, Iterator[object]]:
    baseline = BASELINES[name]
    lesson = with_recipe(task, **baseline.recipe)
    found = begin(lesson, load(task.parent, artifacts), artifacts, make_method=baseline.make)
    return found.update, (found.reading.step(step) for step in range(found.update.steps))


@pytest.mark.parametrize("name", BASELINES)
def test_the_cross_entropy_falls_and_the_classes_are_told_apart(
    name: str, artifacts: MemoryArtifacts, task: TrainingTask
) -> None:
    watch = Watching()
    light = with_recipe(task, epochs=15, lwf_weight=0.1, reference_weight=0.1)
    trained = train(name, artifacts, light, watch)
    assert watch.terms[-1]["ce"] < 0.6 * watch.terms[0]["ce"]
    assert watch.terms[-1]["accuracy"] == 1
    assert trained.weights.digest != task.parent


@pytest.mark.parametrize("name", BASELINES)
def test_a_repeat_gives_the_same_bits(
    name: str, artifacts: MemoryArtifacts, task: TrainingTask
) -> None:
    first, second = (train(name, artifacts, task).weights.digest for _ in range(2))
    assert first == second


# ---- a_gem ----------------------------------------------------------------------------------


def test_projection_removes_what_points_against_the_memory() -> None:
    own = [torch.tensor([1.0, 2.0]), torch.tensor([[-2.0]])]
    reference = [torch.tensor([0.0, 1.0]), torch.tensor([[3.0]])]
    assert project(own, reference)  # g·g_r = -4, g_r·g_r = 10
    torch.testing.assert_close(own, [torch.tensor([1.0, 2.4]), torch.tensor([[-0.8]])])
    dot = sum((a * b).sum() for a, b in zip(own, reference, strict=True))
    assert abs(float(dot)) < 1e-6
    squared = sum(float(a.square().sum()) for a in own)
    assert squared == pytest.approx(9 - 16 / 10)  # |g|² - (g·g_r)² / |g_r|²


@pytest.mark.parametrize("reference", [[[1.0, 0.0]], [[0.0, 0.0]], [[-2.0, 1.0]]])
def test_without_conflict_the_gradient_stays(reference: list[list[float]]) -> None:
    own = [torch.tensor([1.0, 2.0])]
    assert not project(own, [torch.tensor(row) for row in reference])
    assert own[0].tolist() == [1, 2]


def test_the_memory_is_read_and_not_the_current_batch(
    artifacts: MemoryArtifacts, task: TrainingTask
) -> None:
    """With the batch as its own memory g·g_r is never negative, and nothing is projected."""
    opposed = replace(
        task,
        learned=("red", "blue"),
        exemplars=tuple(
            replace(entry, texts=("blue" if entry.class_name == "red" else "red",))
            for entry in task.images
        ),
        reference=(),
    )
    against = train("a_gem", artifacts, opposed).notes
    along = train("a_gem", artifacts, replace(opposed, exemplars=task.images)).notes
    assert against["steps"] == along["steps"] == 4
    assert against["remembered"] == along["remembered"] == len(task.images)
    assert against["projected"] > along["projected"]


@pytest.mark.parametrize("kind", ["pairs", "exemplars"])
def test_a_projected_step_does_not_raise_the_memorys_loss_to_first_order(
    kind: str, artifacts: MemoryArtifacts, task: TrainingTask
) -> None:
    """And each kind of memory has a say of its own."""
    kept = replace(task, exemplars=()) if kind == "pairs" else replace(task, reference=())
    update, _ = begun("a_gem", artifacts, kept)
    method = update._gradients.method
    assert isinstance(method, AGem)
    parameters = update.models.parameters
    loss = method._memory.loss(0)
    reference = torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True)
    assert sum(float(g.abs().sum()) for g in reference) > 0
    for parameter, opposite in zip(parameters.values(), reference, strict=True):
        parameter.grad = -opposite + 0.01 * torch.ones_like(opposite)
    method.adjust(parameters, 0)
    after = [p.grad for p in parameters.values() if p.grad is not None]
    dot = sum(float((a * b).sum()) for a, b in zip(after, reference, strict=True))
    size = sum(float(b.square().sum()) for b in reference)
    assert abs(dot) < 1e-5 * size


def test_a_gem_that_should_remember_and_cannot_is_refused(
    artifacts: MemoryArtifacts, task: TrainingTask
) -> None:
    with pytest.raises(ModelNotTrainable):
        train("a_gem", artifacts, replace(task, exemplars=(), reference=task.reference[:1]))


def test_the_first_of_all_updates_has_nothing_to_remember(
    artifacts: MemoryArtifacts, task: TrainingTask
) -> None:
    first = replace(task, learned=(), reference=())
    trained = train("a_gem", artifacts, first)
    plain = UpdateTrainer(artifacts, device=CPU, threads=1).train(
        with_recipe(first, method=Method.FT), resume=None, watch=Watching()
    )
    assert trained.notes == {"remembered": 0, "steps": 4, "projected": 0}
    assert trained.weights.digest == plain.weights.digest


# ---- imm_mode -------------------------------------------------------------------------------


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
    assert w.grad is None


def test_each_model_is_measured_on_what_it_learned(
    artifacts: MemoryArtifacts, task: TrainingTask
) -> None:
    assert train("imm_mode", artifacts, task).notes == {"fisher_images": {"new": 10, "old": 8}}


def test_an_old_model_without_images_is_averaged_plainly(
    artifacts: MemoryArtifacts, task: TrainingTask
) -> None:
    first = replace(task, learned=(), reference=())
    trained = train("imm_mode", artifacts, first)
    assert trained.notes == {"fisher_images": {"new": 0, "old": 0}}
    mean = UpdateTrainer(artifacts, device=CPU, threads=1)
    plain = mean.train(with_recipe(first, method=Method.IMM_MEAN), resume=None, watch=Watching())
    assert trained.weights.digest == plain.weights.digest


@pytest.mark.parametrize("mixing", [0.0, 1.0])
def test_the_ends_of_the_mixing_are_the_two_models(
    mixing: float, artifacts: MemoryArtifacts, task: TrainingTask
) -> None:
    trained = train("imm_mode", artifacts, with_recipe(task, mixing=mixing))
    ft = UpdateTrainer(artifacts, device=CPU, threads=1)
    tuned = ft.train(with_recipe(task, method=Method.FT), resume=None, watch=Watching())
    assert trained.weights.digest == (tuned.weights.digest if mixing else task.parent)


def test_fewer_images_are_enough(artifacts: MemoryArtifacts, task: TrainingTask) -> None:
    def make(recipe: Recipe, columns: Columns) -> ModeImm:
        return ModeImm(recipe, columns, images=3, group=2)

    trainer = UpdateTrainer(artifacts, device=CPU, threads=1, make_method=make)
    trained = trainer.train(task, resume=None, watch=Watching())
    assert trained.notes == {"fisher_images": {"new": 3, "old": 3}}


# ---- zscl_lwfvr -----------------------------------------------------------------------------


def test_its_sentences_are_drawn_once(
    artifacts: MemoryArtifacts, task: TrainingTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    draw = RandomSentences.draw

    def counted(self: RandomSentences, generator: torch.Generator) -> Tensor:
        drawn.append(draw(self, generator))
        return drawn[-1]

    monkeypatch.setattr(RandomSentences, "draw", counted)
    watch = Watching()
    train("zscl_lwfvr", artifacts, task, watch)
    assert len(watch.terms) > 1
    (tokens,) = drawn
    assert tokens.shape[0] == SENTENCES
    assert (tokens[:, LENGTH - 1] == 49407).all()
    assert (tokens[:, LENGTH:] == 0).all()


def test_its_distillation_reaches_the_image_tower_alone(
    artifacts: MemoryArtifacts, task: TrainingTask
) -> None:
    update, data = begun("zscl_lwfvr", artifacts, task)
    method = update._gradients.method
    assert isinstance(method, ZsclLwfVr)
    update.advance(next(data))  # type: ignore[arg-type]
    step = next(data)
    texts = update.models.texts(update.models.class_tokens[:0], (update.models.class_tokens[:0],))
    batch = update.models.batch(step.pixels, step.target, texts)  # type: ignore[attr-defined]
    ce, images, sentences = method.terms()
    assert (ce.name, images.name, sentences.name) == ("ce", "zscl_i", "zscl_t")
    (images.loss(batch) + sentences.loss(batch)).backward()
    texts.backward()
    reached = {name for name, p in update.models.parameters.items() if p.grad is not None}
    assert reached
    assert all(name.startswith("visual.") for name in reached)


@pytest.mark.parametrize("name", ["zscl_lwfvr", "geodl"])
def test_what_looks_at_a_whole_batch_is_not_read_in_parts(
    name: str, artifacts: MemoryArtifacts, task: TrainingTask
) -> None:
    with pytest.raises(ModelNotTrainable):
        train(name, artifacts, with_recipe(task, micro_batch=2))


# ---- geodl ----------------------------------------------------------------------------------


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
    artifacts: MemoryArtifacts, task: TrainingTask
) -> None:
    update, _ = begun("geodl", artifacts, task)
    method = update._gradients.method
    assert {method.columns.names[column] for column in method.columns.seen} == {
        "blue",
        "red",
        "green",
    }


def failing_every(monkeypatch: pytest.MonkeyPatch, period: int) -> None:
    calls = iter(range(10**6))

    def distance(new: Tensor, old: Tensor) -> Tensor:
        if next(calls) % period == 0:
            raise torch.linalg.LinAlgError("did not converge")
        return geodesic_distance(new, old)

    monkeypatch.setattr(geodl, "geodesic_distance", distance)


def test_a_failed_svd_leaves_out_its_term_and_is_counted(
    artifacts: MemoryArtifacts, task: TrainingTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_every(monkeypatch, 2)  # the first of the two terms, always
    watch = Watching()
    trained = train("geodl", artifacts, task, watch)
    assert trained.notes == {"svd_failures": {"geo_i": 4, "geo_t": 0}}
    assert [terms["geo_i"] for terms in watch.terms] == [0] * 4
    assert watch.terms[-1]["geo_t"] > 0


def test_an_svd_that_keeps_failing_stops_the_update(
    artifacts: MemoryArtifacts, task: TrainingTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_every(monkeypatch, 1)
    with pytest.raises(TrainingDiverged) as caught:
        train("geodl", artifacts, with_recipe(task, epochs=10))
    assert caught.value.facts["failures"] == {"geo_i": MOST_FAILURES + 1, "geo_t": MOST_FAILURES}


def test_another_failure_is_not_swallowed(
    artifacts: MemoryArtifacts, task: TrainingTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(new: Tensor, old: Tensor) -> Tensor:
        raise RuntimeError("a bug")

    monkeypatch.setattr(geodl, "geodesic_distance", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        train("geodl", artifacts, task)
