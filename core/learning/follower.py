"""What the ranks besides rank 0 do."""

import torch

from core.clip.prefetch import Ahead
from core.clip.weights import load
from core.domain.values import Digest
from core.learning.checkpoint import read_checkpoint
from core.learning.determinism import repeatable
from core.learning.distributed.ranks import Command, DistributedRanks
from core.learning.setup import prepare_run
from core.ports import Artifacts, TrainingSpec


def run_follower(
    spec: TrainingSpec,
    artifacts: Artifacts,
    ranks: DistributedRanks,
    *,
    resume: Digest | None,
    device: torch.device,
    threads: int,
) -> None:
    """Take every step that rank 0 takes, each on this rank's share of the batch.

    Returns at rank 0's cue. Raises RankLost, and what rank 0 raises too: RanksDisagree,
    TrainingDiverged, ModelNotTrainable.
    """
    with repeatable(spec.recipe.seed, device=device, threads=threads):
        prepared = prepare_run(spec, load(spec.parent, artifacts, device), artifacts, ranks=ranks)
        update = prepared.update
        if state := read_checkpoint(artifacts, resume):
            update.restore(state)
        with Ahead(prepared.reading.step, update.step, update.steps, device=device) as ahead:
            while (command := ranks.receive_command()) is not Command.END:
                if command is Command.STEP:
                    update.advance(ahead.take())
                else:
                    ranks.compare(prepared.fingerprint)
