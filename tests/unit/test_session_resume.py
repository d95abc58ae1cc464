"""Training by the trainer: it learns, it repeats to the bit, and it resumes to the same bits."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from PIL import Image

from core.clip.weights import load, publish, read_state
from core.domain.dataset import ManifestEntry
from core.domain.prompt import DEFAULT_PROMPT
from core.domain.recipe import (
    LabelSpace,
    Method,
    ModelPart,
    Precision,
    Recipe,
    Schedule,
    Vocabulary,
)
from core.domain.values import Digest
from core.domain.version import Weights
from core.errors import (
    CancelRequested,
    LeaseLost,
    ModelNotTrainable,
    StopRequested,
    TooFewClasses,
    TrainingDiverged,
)
from core.learning import checkpoint
from core.learning.session import UpdateTrainer
from core.ports import TrainingTask
from tests.unit.memory_artifacts import MemoryArtifacts
from tests.unit.tiny_clip import tiny_clip, tiny_config

RECIPE = Recipe(
    epochs=2,
    batch_size=4,
    learning_rate=3e-3,
    sentences=6,
    sentence_length=6,
    replay_weight=1.0,
    seed=11,
)


@dataclass
class Watching:
    """A watch that keeps a checkpoint every `every` steps and raises at `stop_at`."""

    every: int = 0
    stop_at: int = 0
    stop_with: type[Exception] = StopRequested
    saved: list[tuple[int, Digest]] = field(default_factory=list)
    steps: list[tuple[str, int, int]] = field(default_factory=list)
    terms: list[Mapping[str, float]] = field(default_factory=list)
    taken: int = 0

    def advance(
        self, phase: str, step: int, total: int, terms: Mapping[str, float] | None = None
    ) -> None:
        self.steps.append((phase, step, total))
        if phase == "training":
            self.terms.append(terms or {})
            if step == self.stop_at:
                raise self.stop_with

    def checkpoint_due(self) -> bool:
        self.taken += 1
        return bool(self.every) and self.taken % self.every == 0

    def save_checkpoint(self, digest: Digest, step: int) -> None:
        self.saved.append((step, digest))


class StoppingAsItSaves(Watching):
    """As the real watch does: the checkpoint counts, then the worker is told to stop."""

    def save_checkpoint(self, digest: Digest, step: int) -> None:
        super().save_checkpoint(digest, step)
        raise self.stop_with


def image(colour: tuple[int, int, int]) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (20, 18), colour).save(out, "WEBP", lossless=True)
    return out.getvalue()


@pytest.fixture
def artifacts() -> MemoryArtifacts:
    return MemoryArtifacts()


@pytest.fixture
def task(artifacts: MemoryArtifacts) -> TrainingTask:
    """Red and blue squares of many shades: ten images, so batches of 4, 4 and a dropped 2."""
    model = tiny_clip()
    parent = publish(model.config, model.network.state_dict(), artifacts, lambda done, total: None)
    entries = []
    for shade in range(5):
        for name, colour in (("red", (250 - shade, 0, 9)), ("blue", (9, 0, 250 - shade))):
            digest = artifacts.put(image(colour))
            entries.append(ManifestEntry(pixels=digest, artifact=digest, texts=(name,)))
    return TrainingTask(
        parent=parent.digest,
        recipe=RECIPE,
        classes=("blue", "red"),
        learned=(),
        open_classes=("green", "Red"),
        images=tuple(sorted(entries, key=lambda entry: entry.pixels)),
        prompt=DEFAULT_PROMPT,
    )


def train(
    artifacts: MemoryArtifacts,
    task: TrainingTask,
    watch: Watching | None = None,
    resume: Digest | None = None,
) -> Weights:
    trainer = UpdateTrainer(artifacts, device=torch.device("cpu"), threads=1)
    return trainer.train(task, resume=resume, watch=watch or Watching())


def with_recipe(task: TrainingTask, **changes: Any) -> TrainingTask:
    return replace(task, recipe=replace(task.recipe, **changes))


# ---- Learning -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", Method)
def test_the_loss_falls_and_the_classes_are_told_apart(
    method: Method, artifacts: MemoryArtifacts, task: TrainingTask
) -> None:
    watch = Watching()
    light = {"replay_weight": 0.1, "lwf_weight": 0.1}
    train(artifacts, with_recipe(task, method=method, epochs=15, **light), watch)
    assert watch.terms[-1]["ce"] < 0.5 * watch.terms[0]["ce"]
    assert watch.terms[-1]["accuracy"] == 1


def test_every_step_is_told_with_its_terms(artifacts: MemoryArtifacts, task: TrainingTask) -> None:
    watch = Watching()
    train(artifacts, replace(task, learned=("green",)), watch)
    assert [step for phase, step, _ in watch.steps if phase == "training"] == [1, 2, 3, 4]
    assert {total for phase, _, total in watch.steps if phase == "training"} == {4}
    assert {"loss", "ce", "vr", "lwf", "accuracy", "images_per_second"} == set(watch.terms[0])
    assert [phase for phase, _, _ in watch.steps][:2] == ["loading", "loading"]
    assert watch.steps[-1][0] == "publishing"


def test_the_first_step_forgets_nothing_yet(artifacts: MemoryArtifacts, task: TrainingTask) -> None:
    watch = Watching()
    train(artifacts, replace(task, learned=("green",)), watch)
    assert watch.terms[0]["vr"] == pytest.approx(0, abs=1e-6)
    assert watch.terms[0]["lwf"] == pytest.approx(0, abs=1e-6)
    assert watch.terms[-1]["vr"] > 1e-6


def test_a_heavier_replay_stays_closer_to_the_parent(
    artifacts: MemoryArtifacts, task: TrainingTask
) -> None:
    drift = []
    for weight in (0.0, 20.0):
        watch = Watching()
        train(artifacts, with_recipe(task, replay_weight=weight, epochs=10), watch)
        drift.append(watch.terms[-1]["vr"])
    assert drift[1] < 0.5 * drift[0]


@pytest.mark.parametrize("part", ModelPart)
def test_a_part_changes_its_tensors_alone(
    part: ModelPart, artifacts: MemoryArtifacts, task: TrainingTask
) -> None:
    weights = train(artifacts, with_recipe(task, part=part))
    parent = Weights.from_bytes(artifacts.get(task.parent))
    before = {entry.name: entry.digest for entry in parent.tensors}
    changed = {entry.name for entry in weights.tensors if entry.digest != before[entry.name]}
    towers = {name.startswith("visual.") for name in changed - {"logit_scale"}}
    assert "logit_scale" in changed
    assert (
        towers
        == {
            ModelPart.WHOLE: {True, False},
            ModelPart.IMAGE: {True},
            ModelPart.TEXT: {False},
        }[part]
    )


def test_the_version_keeps_its_parents_config_and_loads(
    artifacts: MemoryArtifacts, task: TrainingTask
) -> None:
    weights = train(artifacts, task)
    assert artifacts.has(weights.digest)
    model = load(weights.digest, artifacts)
    assert model.config == tiny_config()
    assert weights.digest != task.parent


def test_fewer_images_than_a_batch_make_one_batch(
    artifacts: MemoryArtifacts, task: TrainingTask
) -> None:
    watch = Watching()
    train(artifacts, with_recipe(task, batch_size=64), watch)
    assert len(watch.terms) == 2


def test_a_class_named_like_a_suites_class_is_learned_in_its_own_column(
    artifacts: MemoryArtifacts, task: TrainingTask
) -> None:
    watch = Watching()
    train(artifacts, with_recipe(task, label_space=LabelSpace.OPEN, epochs=15), watch)
    assert watch.terms[-1]["accuracy"] == 1


# ---- Repeating and resuming -----------------------------------------------------------------


def test_the_same_task_gives_the_same_digest_and_another_seed_another(
    artifacts: MemoryArtifacts, task: TrainingTask
) -> None:
    first = train(artifacts, task)
    torch.rand(3)
    assert train(artifacts, task).digest == first.digest
    assert train(artifacts, with_recipe(task, seed=12)).digest != first.digest


@pytest.mark.parametrize(
    "recipe",
    [
        RECIPE,
        replace(RECIPE, precision=Precision.FP32, schedule=Schedule.STEP),
        replace(RECIPE, method=Method.LWF, part=ModelPart.IMAGE),
        replace(RECIPE, part=ModelPart.TEXT, augment=False),
        replace(
            RECIPE, vocabulary=Vocabulary.FILE, vocabulary_texts=("a boat", "two cats", "rain")
        ),
    ],
)
@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_a_run_stopped_at_any_step_ends_in_the_same_digest(
    recipe: Recipe, step: int, artifacts: MemoryArtifacts, task: TrainingTask
) -> None:
    task = replace(task, recipe=recipe, learned=("green",))
    undisturbed = train(artifacts, task)
    watch = Watching(every=1, stop_at=step)
    with pytest.raises(StopRequested):
        train(artifacts, task, watch)
    kept_step, kept = watch.saved[-1]
    assert kept_step == step
    resumed = Watching()
    assert train(artifacts, task, resumed, resume=kept).digest == undisturbed.digest
    assert len(resumed.terms) == 4 - step


def test_a_run_stopped_at_every_step_ends_in_the_same_digest(
    artifacts: MemoryArtifacts, task: TrainingTask
) -> None:
    task = with_recipe(task, sentences=200)  # two steps a block of the teacher's reading
    undisturbed = train(artifacts, task)
    kept: Digest | None = None
    for _ in range(4):
        watch = StoppingAsItSaves(every=1)
        with pytest.raises(StopRequested):
            train(artifacts, task, watch, resume=kept)
        kept = watch.saved[-1][1]
    assert train(artifacts, task, resume=kept).digest == undisturbed.digest


def test_steps_after_the_checkpoint_are_taken_again(
    artifacts: MemoryArtifacts, task: TrainingTask
) -> None:
    undisturbed = train(artifacts, task)
    watch = Watching(every=2, stop_at=3)
    with pytest.raises(StopRequested):
        train(artifacts, task, watch)
    step, kept = watch.saved[-1]
    assert step == 2
    assert train(artifacts, task, resume=kept).digest == undisturbed.digest


@pytest.mark.parametrize("damage", ["gone", "corrupt"])
def test_without_its_checkpoint_a_run_starts_over_to_the_same_digest(
    damage: str, artifacts: MemoryArtifacts, task: TrainingTask
) -> None:
    undisturbed = train(artifacts, task)
    watch = Watching(every=1, stop_at=2)
    with pytest.raises(StopRequested):
        train(artifacts, task, watch)
    kept = watch.saved[-1][1]
    if damage == "gone":
        artifacts.delete(kept)
    else:
        artifacts.bytes_of[kept] = artifacts.bytes_of[kept][:-1]
    assert train(artifacts, task, resume=kept).digest == undisturbed.digest


@pytest.mark.parametrize("watch", [Watching(every=1, stop_at=3), StoppingAsItSaves(every=3)])
def test_only_the_newest_checkpoint_is_kept(
    watch: Watching, artifacts: MemoryArtifacts, task: TrainingTask
) -> None:
    old = artifacts.put(b"the checkpoint of an earlier attempt, damaged")
    artifacts.bytes_of[old] = b"!"
    with pytest.raises(StopRequested):
        train(artifacts, task, watch, resume=old)
    assert not artifacts.has(old)
    assert [artifacts.has(digest) for _, digest in watch.saved] == [False] * (
        len(watch.saved) - 1
    ) + [True]


def test_a_checkpoint_that_was_refused_leaves_the_one_that_counts(
    artifacts: MemoryArtifacts, task: TrainingTask
) -> None:
    watch = Watching(every=1, stop_at=1)
    with pytest.raises(StopRequested):
        train(artifacts, task, watch)
    kept = watch.saved[-1][1]
    with pytest.raises(LeaseLost):
        train(artifacts, task, StoppingAsItSaves(every=1, stop_with=LeaseLost), resume=kept)
    assert artifacts.has(kept)


def test_a_checkpoint_with_code_in_it_is_refused() -> None:
    out = io.BytesIO()
    torch.save({"step": Watching()}, out)
    with pytest.raises(Exception, match=r"Weights only"):
        checkpoint.from_bytes(out.getvalue())


# ---- Stopping -------------------------------------------------------------------------------


def test_a_cancelled_run_publishes_nothing(artifacts: MemoryArtifacts, task: TrainingTask) -> None:
    before = set(artifacts.digests())
    with pytest.raises(CancelRequested):
        train(artifacts, task, Watching(stop_at=2, stop_with=CancelRequested))
    assert set(artifacts.digests()) == before


def test_a_loss_that_is_no_number_stops_with_the_last_good_terms(
    artifacts: MemoryArtifacts, task: TrainingTask
) -> None:
    wild = with_recipe(
        task, learning_rate=1.0, clip_norm=1e6, schedule=Schedule.CONSTANT, epochs=200
    )
    state = read_state(Weights.from_bytes(artifacts.get(task.parent)), artifacts)
    state["visual.proj"][0, 0] = float("nan")
    bad = publish(tiny_config(), state, artifacts, lambda done, total: None)
    with pytest.raises(TrainingDiverged) as caught:
        train(artifacts, replace(wild, parent=bad.digest))
    assert caught.value.facts["step"] == 0
    assert caught.value.facts["terms"] == {}


def test_what_cannot_be_learned_is_refused_before_the_first_step(
    artifacts: MemoryArtifacts, task: TrainingTask
) -> None:
    watch = Watching()
    with pytest.raises(TooFewClasses):
        train(artifacts, replace(task, classes=("red",)), watch)
    with pytest.raises(ModelNotTrainable):
        train(artifacts, with_recipe(task, vocabulary=Vocabulary.TRAINED), watch)
    with pytest.raises(ModelNotTrainable):
        train(artifacts, with_recipe(task, sentence_length=40), watch)
    assert not watch.terms


def test_training_leaves_torch_as_it_found_it(
    artifacts: MemoryArtifacts, task: TrainingTask
) -> None:
    before = torch.get_rng_state(), torch.are_deterministic_algorithms_enabled()
    train(artifacts, task)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.are_deterministic_algorithms_enabled() is before[1]


def test_the_environment_names_what_a_repeat_depends_on(artifacts: MemoryArtifacts) -> None:
    trainer = UpdateTrainer(artifacts, device=torch.device("cpu"), threads=3)
    found = trainer.environment()
    assert found["threads"] == "3"
    assert found["torch"] == torch.__version__
    assert found["device"].startswith("cpu")
    assert {"open_clip_torch", "timm", "numpy", "pillow", "python"} <= set(found)
