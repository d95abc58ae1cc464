"""Two GPUs over NCCL learn what one learns: `make test-gpu`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from core.artifacts.local import LocalArtifacts
from core.clip.model import read_state
from core.learning.trainer import UpdateTrainer
from core.recipes.fields import Method, Precision
from tests.support.learning.lessons import Watching, red_and_blue, with_recipe
from worker.ranks.launcher import RankLauncher

CUDA = torch.device("cuda")

pytestmark = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")


@pytest.mark.parametrize("method", [Method.FT, Method.VRLWF, Method.ZSCL])
def test_two_gpus_give_the_weights_of_one_and_repeat_to_the_bit(
    tmp_path: Path, method: Method
) -> None:
    artifacts = LocalArtifacts(tmp_path)
    changes = {"method": method, "precision": Precision.FP32, "epsilon": 1e-4, "batch_size": 5}
    spec = with_recipe(red_and_blue(artifacts), **changes)
    monitor = Watching()
    one = UpdateTrainer(artifacts, device=CUDA).train(spec, resume=None, monitor=monitor).weights
    crew = RankLauncher(2, artifacts=artifacts, patience_s=60)
    both = UpdateTrainer(artifacts, device=CUDA, rank_provider=crew)
    two = [both.train(spec, resume=None, monitor=monitor).weights for _ in range(2)]
    assert two[0].digest == two[1].digest
    alone = read_state(one, artifacts)
    for name, value in read_state(two[0], artifacts).items():
        torch.testing.assert_close(value, alone[name], rtol=1e-4, atol=1e-5)
