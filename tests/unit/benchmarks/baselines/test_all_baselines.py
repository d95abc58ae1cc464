"""The methods that are only compared with: all train, repeat, resume and stand in studies."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.baselines import BASELINES
from benchmarks.study.cli import main
from core.errors import ModelNotTrainable, StopRequested
from core.training.trainer import TrainingSpec
from tests.support.learning.lessons import Watching, red_and_blue, with_recipe
from tests.support.learning.squares import build
from tests.support.learning.train_baselines import train
from tests.support.memory_artifacts import MemoryArtifacts

torch.set_num_threads(1)


@pytest.fixture
def artifacts() -> MemoryArtifacts:
    return MemoryArtifacts()


@pytest.fixture
def spec(artifacts: MemoryArtifacts) -> TrainingSpec:
    return replace(red_and_blue(artifacts), learned=("green",))


@pytest.mark.parametrize("name", BASELINES)
def test_the_cross_entropy_falls_and_the_classes_are_told_apart(
    name: str, artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    monitor = Watching()
    light = with_recipe(spec, epochs=15, lwf_weight=0.1, reference_weight=0.1)
    trained = train(name, artifacts, light, monitor)
    assert monitor.terms[-1]["ce"] < 0.6 * monitor.terms[0]["ce"]
    assert monitor.terms[-1]["accuracy"] == 1
    assert trained.weights.digest != spec.parent


@pytest.mark.parametrize("name", BASELINES)
def test_a_repeat_gives_the_same_bits(
    name: str, artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    first, second = (train(name, artifacts, spec).weights.digest for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", BASELINES)
def test_a_stopped_update_resumes_to_the_same_bits(
    name: str, artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    monitor = Watching(every=1, stop_at=2)
    with pytest.raises(StopRequested):
        train(name, artifacts, spec, monitor)
    _, kept = monitor.saved[-1]
    resumed = train(name, artifacts, spec, resume=kept)
    assert resumed.weights.digest == train(name, artifacts, spec).weights.digest


@pytest.mark.parametrize(
    ("name", "weight", "term"),
    [("geodl", "lwf_weight", "geo_i"), ("zscl_lwfvr", "reference_weight", "zscl_i")],
)
def test_a_heavier_distillation_stays_closer_to_the_parent(
    name: str, weight: str, term: str, artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    drift = []
    for value in (0.0, 20.0):
        monitor = Watching()
        train(name, artifacts, with_recipe(spec, epochs=10, **{weight: value}), monitor)
        drift.append(monitor.terms[-1][term])
    assert drift[1] < drift[0]


def test_a_study_compares_them_all(tmp_path: Path) -> None:
    plan = build(tmp_path)
    rows = [f'[[rows]]\nname = "{name}"\ncompared = "{name}"\n' for name in BASELINES]
    text = plan.read_text().replace("[retrieval]", "[reference]")
    plan.write_text(text.replace("[tune]", "\n".join([*rows, "[tune]"])))
    where = ["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--threads", "1"]
    what = ["--sessions", "2", "--seeds", "0", "--rows", *BASELINES]
    assert main(["many", str(plan), *where, *what]) == 0
    records = [json.loads(path.read_text()) for path in (tmp_path / "out").glob("runs/*.json")]
    notes = {(r["compared"], r["session"]): r["notes"] for r in records if "compared" in r}
    assert len(notes) == 2 * len(BASELINES)
    assert not any("failed" in record for record in records)
    assert notes["a_gem", 0]["remembered"] > 0
    assert notes["imm_mode", 0]["fisher_images"]["old"] > 0


@pytest.mark.parametrize("name", ["zscl_lwfvr", "geodl"])
def test_what_looks_at_a_whole_batch_is_not_read_in_parts(
    name: str, artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    with pytest.raises(ModelNotTrainable):
        train(name, artifacts, with_recipe(spec, micro_batch=2))
