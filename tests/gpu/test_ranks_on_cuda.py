"""Two GPUs over NCCL learn what one learns: `make test-gpu`."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest
import torch

from core.artifacts.local import LocalArtifacts
from core.clip.model import read_state
from core.errors import RankLost
from core.learning.trainer import UpdateTrainer
from core.recipes.fields import Method, Precision
from tests.support.learning.lessons import Watching, red_and_blue, with_recipe
from worker.ranks.launcher import RankLauncher

CUDA = torch.device("cuda")

pytestmark = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")


class Killing(Watching):
    def advance(
        self, phase: str, step: int, total: int, terms: Mapping[str, float] | None = None
    ) -> None:
        super().advance(phase, step, total, terms)
        if phase == "training" and step == 1:
            (other,) = psutil.Process().children()
            other.send_signal(signal.SIGKILL)


def trainer(folder: Path, *, patience_s: float = 60.0) -> UpdateTrainer:
    crew = RankLauncher(2, artifacts=LocalArtifacts(folder), device=CUDA, patience_s=patience_s)
    return UpdateTrainer(LocalArtifacts(folder), device=CUDA, rank_provider=crew)


@pytest.mark.parametrize("method", [Method.FT, Method.VRLWF, Method.ZSCL])
def test_two_gpus_give_the_weights_of_one_and_repeat_to_the_bit(
    tmp_path: Path, method: Method
) -> None:
    artifacts = LocalArtifacts(tmp_path)
    changes = {"method": method, "precision": Precision.FP32, "epsilon": 1e-4, "batch_size": 5}
    spec = with_recipe(red_and_blue(artifacts), **changes)
    monitor = Watching()
    one = UpdateTrainer(artifacts, device=CUDA).train(spec, resume=None, monitor=monitor).weights
    two = [trainer(tmp_path).train(spec, resume=None, monitor=monitor).weights for _ in range(2)]
    assert two[0].digest == two[1].digest
    alone = read_state(one, artifacts)
    for name, value in read_state(two[0], artifacts).items():
        torch.testing.assert_close(value, alone[name], rtol=1e-4, atol=1e-5)


def test_a_killed_rank_ends_the_run_in_time(tmp_path: Path) -> None:
    spec = red_and_blue(LocalArtifacts(tmp_path))
    with pytest.raises(RankLost, match="signal 9"):
        trainer(tmp_path, patience_s=20).train(spec, resume=None, monitor=Killing())
    assert not psutil.Process().children()
