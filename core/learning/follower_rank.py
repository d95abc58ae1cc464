"""The training loop of every rank except rank 0."""

import torch

from core.clip.batch_prefetch import Prefetcher
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
    """Take every step that rank 0 takes, on this rank's share of each batch.

    Returns when rank 0 sends `Command.END`. Raises RankLost, and the errors that rank 0 raises
    too: RanksDisagree, TrainingDiverged, ModelNotTrainable.
    """
    with repeatable(spec.recipe.seed, device=device, threads=threads):
        prepared = prepare_run(spec, load(spec.parent, artifacts, device), artifacts, ranks=ranks)
        run = prepared.update
        state = read_checkpoint(artifacts, resume)
        if state and run.is_of(state):
            run.restore(state)
        with Prefetcher(prepared.reading.step, run.step, run.steps, device=device) as ahead:
            while (command := ranks.receive_command()) is not Command.END:
                if command is Command.STEP:
                    run.advance(ahead.take())
                else:
                    ranks.compare(prepared.fingerprint)
