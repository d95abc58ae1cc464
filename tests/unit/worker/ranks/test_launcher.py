"""The processes that train along come and go with the update."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest
import torch
import torch.distributed as dist

from core.artifacts.local import LocalArtifacts
from core.clip.model import read_state
from core.errors import RankLost, StopRequested, UnsafeConfiguration
from core.learning.trainer import UpdateTrainer
from core.recipes.fields import Precision
from core.registry.versions import Weights
from core.settings import Settings
from core.training.trainer import TrainingSpec
from core.values import Digest
from tests.support.learning.lessons import Watching, red_and_blue, with_recipe
from tests.support.processes import is_alive, wait_for
from worker.ranks.launcher import RankLauncher
from worker.tools import rank_provider

CPU = torch.device("cpu")


@pytest.fixture
def artifacts(tmp_path: Path) -> LocalArtifacts:
    return LocalArtifacts(tmp_path)


@pytest.fixture
def spec(artifacts: LocalArtifacts) -> TrainingSpec:
    return with_recipe(red_and_blue(artifacts), precision=Precision.FP32, epsilon=1e-2)


class Signalling(Watching):
    """Sends the other rank a signal after the first step."""

    number = signal.SIGKILL

    def advance(
        self, phase: str, step: int, total: int, terms: Mapping[str, float] | None = None
    ) -> None:
        super().advance(phase, step, total, terms)
        if phase == "training" and step == 1:
            (other,) = others()
            other.send_signal(self.number)


def others() -> list[psutil.Process]:
    """The other ranks; tests that ran before may have left servers running for those to come."""
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if child.status() == psutil.STATUS_ZOMBIE or "worker.ranks.follower" in child.cmdline()
    ]


def trainer(folder: Path, *, ranks: int, patience_s: float = 60.0) -> UpdateTrainer:
    crew = RankLauncher(ranks, artifacts=LocalArtifacts(folder), threads=1, patience_s=patience_s)
    return UpdateTrainer(
        LocalArtifacts(folder), device=CPU, threads=1, rank_provider=crew if ranks > 1 else None
    )


def train(
    folder: Path,
    spec: TrainingSpec,
    monitor: Watching,
    ranks: int = 2,
    resume: Digest | None = None,
) -> Weights:
    return trainer(folder, ranks=ranks).train(spec, resume=resume, monitor=monitor).weights


def assert_nothing_is_left(threads: int) -> None:
    assert not others()
    assert threading.active_count() <= threads  # another test's may end meanwhile
    assert not dist.is_initialized()


def test_an_interrupted_run_leaves_nothing_and_goes_on_where_it_was(
    tmp_path: Path, artifacts: LocalArtifacts, spec: TrainingSpec
) -> None:
    threads = threading.active_count()
    monitor = Watching(every=2, stop_at=2)
    with pytest.raises(StopRequested):
        train(tmp_path, spec, monitor)
    assert_nothing_is_left(threads)
    resumed = train(tmp_path, spec, Watching(), resume=monitor.saved[-1][1])
    assert_nothing_is_left(threads)
    alone = read_state(train(tmp_path, spec, Watching(), ranks=1), artifacts)
    for name, value in read_state(resumed, artifacts).items():
        torch.testing.assert_close(value, alone[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("number", "patience_s", "said"),
    [
        (signal.SIGKILL, 60, "Rank 1 was killed by signal 9"),  # noticed at once
        (signal.SIGSTOP, 6, "stopped responding"),
    ],
)
def test_a_lost_rank_ends_the_run_in_time(
    number: signal.Signals, patience_s: float, said: str, tmp_path: Path, spec: TrainingSpec
) -> None:
    threads = threading.active_count()
    monitor = Signalling()
    monitor.number = number
    with pytest.raises(RankLost, match=said):
        trainer(tmp_path, ranks=2, patience_s=patience_s).train(spec, resume=None, monitor=monitor)
    assert len(monitor.terms) == 1
    assert_nothing_is_left(threads)


ORPHANING = """
import sys, time
from worker.ranks.launcher import RankProcess
from worker.ranks.rank_task import RankTask

process = RankProcess.start(1, size=2, port=9)  # where nobody meets it
process.hand(RankTask(spec=None, resume=None, artifacts=None, device="cpu", threads=1))
print(process.pid, flush=True)
time.sleep(60)
"""


def test_a_rank_ends_with_a_killed_worker() -> None:
    worker = subprocess.Popen([sys.executable, "-c", ORPHANING], stdout=subprocess.PIPE)
    assert worker.stdout is not None
    rank = psutil.Process(int(worker.stdout.readline()))
    assert rank.ppid() == worker.pid
    wait_for(lambda: rank.num_threads() > 1, seconds=20)  # it knows what to do and whom to follow
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    worker.stdout.close()
    wait_for(lambda: not is_alive(rank.pid), seconds=5)


def test_the_worker_trains_on_as_many_ranks_as_the_settings_say_if_there_can_be_so_many(
    tmp_path: Path, artifacts: LocalArtifacts
) -> None:
    for ranks in (1, 2):
        assert rank_provider(Settings(home=tmp_path, ranks=ranks), artifacts, CPU).size == ranks
        assert trainer(tmp_path, ranks=ranks).environment()["ranks"] == str(ranks)
    for ranks, device in ((0, "cpu"), (1000, "cuda"), (2, "cuda:99")):
        with pytest.raises(UnsafeConfiguration, match="PERENNIAL_RANKS"):
            rank_provider(Settings(ranks=ranks), artifacts, torch.device(device))
