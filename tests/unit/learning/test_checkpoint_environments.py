"""A resumed update remembers every kind of machine that has trained it."""

from __future__ import annotations

import pytest

from core.errors import StopRequested
from core.training.trainer import TrainingSpec
from tests.support.learning.lessons import StoppingAsItSaves, Watching, stopped, trainer_of
from tests.support.memory_artifacts import MemoryArtifacts


def test_a_checkpoint_resumed_in_its_own_environment_is_exact_in_silence(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    trainer, monitor = trainer_of(artifacts), Watching()
    for resume in (None, stopped(artifacts, spec)):
        trained = trainer.train(spec, resume=resume, monitor=monitor)
        assert trained.environments == (trainer.environment(),)
    assert monitor.told == []


def test_a_checkpoint_resumed_in_another_environment_says_so_and_remembers_it(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    kept = stopped(artifacts, spec)
    monitor = StoppingAsItSaves(every=1)
    with pytest.raises(StopRequested):
        trainer_of(artifacts, threads=2).train(spec, resume=kept, monitor=monitor)
    ((kind, told),) = monitor.told
    assert kind == "environment_changed"
    assert (told["step"], told["changed"]) == (2, {"threads": ["1", "2"]})
    assert "a different kind of machine than the one" in told["explanation"]
    watch_again = Watching()
    home = trainer_of(artifacts)
    trained = home.train(spec, resume=monitor.saved[-1][1], monitor=watch_again)
    away = trainer_of(artifacts, threads=2).environment()
    assert trained.environments == (home.environment(), away, home.environment())
    assert [kind for kind, _ in watch_again.told] == ["environment_changed"]
