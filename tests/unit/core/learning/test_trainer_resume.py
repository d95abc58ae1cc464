"""A task repeats to the bit, and a run that was stopped resumes to the same bits."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import torch

from core.domain.recipes.choices import (
    Averaging,
    Method,
    ModelPart,
    Optimiser,
    Precision,
    Schedule,
    TeacherPolicy,
    Vocabulary,
)
from core.domain.recipes.recipe import Recipe
from core.domain.values import Digest
from core.errors import (
    LeaseLost,
    StopRequested,
)
from core.learning import checkpoint
from core.learning.data.feature_statistics import FeatureStatistics
from core.learning.trainer import UpdateTrainer
from core.ports import TrainingSpec
from tests.support.learning.lessons import (
    RECIPE,
    StoppingAsItSaves,
    Watching,
    altered,
    another_root,
    train,
    with_recipe,
)
from tests.support.memory_artifacts import MemoryArtifacts


def test_the_same_task_gives_the_same_digest_and_another_seed_another(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    first = train(artifacts, spec)
    torch.rand(3)
    assert train(artifacts, spec).digest == first.digest
    assert train(artifacts, with_recipe(spec, seed=12)).digest != first.digest


@pytest.mark.parametrize(
    "recipe",
    [
        RECIPE,
        replace(RECIPE, precision=Precision.BF16, schedule=Schedule.STEP),
        altered(RECIPE, method=Method.LWF, part=ModelPart.IMAGE),
        replace(RECIPE, part=ModelPart.TEXT, augment=False, projection=0.5),
        replace(
            RECIPE, vocabulary=Vocabulary.FILE, vocabulary_texts=("a boat", "two cats", "rain")
        ),
        altered(
            RECIPE,
            method=Method.VRLWF_CROSS,
            teacher=TeacherPolicy.BOTH,
            precision=Precision.FP16,
            averaging=Averaging.EMA,
            averaging_decay=0.6,
        ),
        altered(
            RECIPE,
            method=Method.REPLAY,
            exemplars=3,
            exemplar_batch=2,
            precision=Precision.FP16,
            averaging=Averaging.RUNNING,
        ),
        altered(
            RECIPE,
            method=Method.VRLWF_REPLAY,
            exemplars=3,
            warm_start=0.3,
            projection=0.5,
            averaging=Averaging.RUNNING,
        ),
        altered(RECIPE, method=Method.VRLWF_FEATURES, teacher=TeacherPolicy.PARENT),
        altered(
            RECIPE,
            method=Method.ZSCL,
            teacher=TeacherPolicy.ROOT,
            averaging=Averaging.RUNNING,
            averaging_every=2,
        ),
        altered(
            RECIPE,
            method=Method.WISE,
            micro_batch=3,
            gradient_checkpointing=True,
            averaging=Averaging.RUNNING,
        ),
        altered(
            RECIPE,
            method=Method.IMM_MEAN,
            optimiser=Optimiser.ADAMW,
            weight_decay=0.1,
            unit_gradient=True,
        ),
    ],
)
def test_a_run_stopped_at_any_step_ends_in_the_same_digest(
    recipe: Recipe, artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    root = another_root(artifacts)
    green = FeatureStatistics.of(torch.eye(16)[:3])
    spec = replace(
        spec,
        recipe=recipe,
        learned=("green",),
        root=root,
        feature_statistics={"green": artifacts.put(green.to_bytes())},
    )
    straight = Watching()
    undisturbed = train(artifacts, spec, straight)
    for step in (1, 2, 3, 4):
        monitor = Watching(every=1, stop_at=step)
        with pytest.raises(StopRequested):
            train(artifacts, spec, monitor)
        kept_step, kept = monitor.saved[-1]
        assert kept_step == step
        resumed = Watching()
        assert train(artifacts, spec, resumed, resume=kept).digest == undisturbed.digest
        assert len(resumed.terms) == len(straight.terms) - step


def test_a_run_stopped_at_every_step_ends_in_the_same_digest(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    spec = with_recipe(spec, sentences=200)  # two steps a block of the teacher's reading
    undisturbed = train(artifacts, spec)
    kept: Digest | None = None
    for _ in range(4):
        monitor = StoppingAsItSaves(every=1)
        with pytest.raises(StopRequested):
            train(artifacts, spec, monitor, resume=kept)
        kept = monitor.saved[-1][1]
    assert train(artifacts, spec, resume=kept).digest == undisturbed.digest


def test_steps_after_the_checkpoint_are_taken_again(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    undisturbed = train(artifacts, spec)
    monitor = Watching(every=2, stop_at=3)
    with pytest.raises(StopRequested):
        train(artifacts, spec, monitor)
    step, kept = monitor.saved[-1]
    assert step == 2
    assert train(artifacts, spec, resume=kept).digest == undisturbed.digest


@pytest.mark.parametrize("damage", ["gone", "corrupt", "of another format"])
def test_without_its_checkpoint_a_run_starts_over_to_the_same_digest(
    damage: str, artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    undisturbed = train(artifacts, spec)
    monitor = Watching(every=1, stop_at=2)
    with pytest.raises(StopRequested):
        train(artifacts, spec, monitor)
    kept = monitor.saved[-1][1]
    if damage == "gone":
        artifacts.delete(kept)
    elif damage == "of another format":
        state = checkpoint.from_bytes(artifacts.get(kept))
        kept = artifacts.put(checkpoint.to_bytes({"format": 1, "step": state["step"]}))
    else:
        artifacts.bytes_of[kept] = artifacts.bytes_of[kept][:-1]
    assert train(artifacts, spec, resume=kept).digest == undisturbed.digest


@pytest.mark.parametrize("monitor", [Watching(every=1, stop_at=3), StoppingAsItSaves(every=3)])
def test_only_the_newest_checkpoint_is_kept(
    monitor: Watching, artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    old = artifacts.put(b"the checkpoint of an earlier attempt, damaged")
    artifacts.bytes_of[old] = b"!"
    with pytest.raises(StopRequested):
        train(artifacts, spec, monitor, resume=old)
    assert not artifacts.has(old)
    assert [artifacts.has(digest) for _, digest in monitor.saved] == [False] * (
        len(monitor.saved) - 1
    ) + [True]


def test_equal_updates_of_two_models_keep_a_checkpoint_each(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    stopped = Watching(every=1, stop_at=2)
    with pytest.raises(StopRequested):
        train(artifacts, spec, stopped)
    kept = stopped.saved[-1][1]
    train(artifacts, spec, Watching(every=1))  # the other model's; each of its own is replaced
    assert artifacts.has(kept)


def test_a_checkpoint_that_was_refused_leaves_the_one_that_counts(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    monitor = Watching(every=1, stop_at=1)
    with pytest.raises(StopRequested):
        train(artifacts, spec, monitor)
    kept = monitor.saved[-1][1]
    with pytest.raises(LeaseLost):
        train(artifacts, spec, StoppingAsItSaves(every=1, stop_with=LeaseLost), resume=kept)
    assert artifacts.has(kept)


def trainer_with(threads: int, artifacts: MemoryArtifacts) -> UpdateTrainer:
    """A worker; thread counts make two of another kind."""
    return UpdateTrainer(artifacts, device=torch.device("cpu"), threads=threads)


def stopped(artifacts: MemoryArtifacts, spec: TrainingSpec, *, threads: int) -> Digest:
    """The checkpoint of a worker that stopped after two steps."""
    monitor = Watching(every=1, stop_at=2)
    with pytest.raises(StopRequested):
        trainer_with(threads, artifacts).train(spec, resume=None, monitor=monitor)
    return monitor.saved[-1][1]


def test_a_checkpoint_resumed_in_its_own_environment_is_exact_in_silence(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    kept = stopped(artifacts, spec, threads=1)
    trainer, monitor = trainer_with(1, artifacts), Watching()
    trained = trainer.train(spec, resume=kept, monitor=monitor)
    assert trained.environments == (trainer.environment(),)
    assert monitor.told == []


def test_a_checkpoint_resumed_in_another_environment_says_so_and_remembers_it(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    kept = stopped(artifacts, spec, threads=1)
    monitor = StoppingAsItSaves(every=1)
    with pytest.raises(StopRequested):
        trainer_with(2, artifacts).train(spec, resume=kept, monitor=monitor)
    ((kind, told),) = monitor.told
    assert kind == "environment_changed"
    assert (told["step"], told["changed"]) == (2, {"threads": ["1", "2"]})
    assert "a different kind of machine than the one" in told["explanation"]
    watch_again = Watching()
    home = trainer_with(1, artifacts)
    trained = home.train(spec, resume=monitor.saved[-1][1], monitor=watch_again)
    away = trainer_with(2, artifacts).environment()
    assert trained.environments == (home.environment(), away, home.environment())
    assert [kind for kind, _ in watch_again.told] == ["environment_changed"]


def test_a_checkpoint_of_other_images_is_ignored(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    kept = stopped(artifacts, spec, threads=1)
    other = replace(spec, images=spec.images[1:])
    digests = {
        trainer_with(1, artifacts).train(other, resume=resume, monitor=Watching()).weights.digest
        for resume in (None, kept)
    }
    assert len(digests) == 1


def test_a_checkpoint_that_names_no_environment_is_resumed_as_one_of_an_unknown_kind(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    undisturbed = train(artifacts, spec)
    state = checkpoint.from_bytes(artifacts.get(stopped(artifacts, spec, threads=1)))
    del state["environments"]
    kept = artifacts.put(checkpoint.to_bytes(state))
    monitor = Watching()
    trained = trainer_with(1, artifacts).train(spec, resume=kept, monitor=monitor)
    assert trained.weights.digest == undisturbed.digest
    assert len(monitor.terms) == 2
    ((kind, told),) = monitor.told
    assert kind == "environment_changed"
    assert "did not record the kind of machine" in told["explanation"]
    assert trained.environments[0] == {}
    assert len(trained.environments) == 2


def test_a_run_that_was_never_stopped_has_one_environment(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    trainer = trainer_with(1, artifacts)
    trained = trainer.train(spec, resume=None, monitor=Watching())
    assert trained.environments == (trainer.environment(),)


def test_a_checkpoint_with_code_in_it_is_refused() -> None:
    out = io.BytesIO()
    torch.save({"step": Watching()}, out)
    with pytest.raises(Exception, match=r"Weights only"):
        checkpoint.from_bytes(out.getvalue())
