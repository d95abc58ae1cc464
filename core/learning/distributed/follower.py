"""What the ranks besides rank 0 do."""

import torch

from core.clip.prefetch import Ahead
from core.clip.weights import load
from core.domain.values import Digest
from core.learning.checkpoint import read_checkpoint
from core.learning.determinism import repeatable
from core.learning.distributed.ranks import Cue, Group
from core.learning.setup import begin
from core.ports import Artifacts, TrainingTask


def follow(
    task: TrainingTask,
    artifacts: Artifacts,
    ranks: Group,
    *,
    resume: Digest | None,
    device: torch.device,
    threads: int,
) -> None:
    """Take every step that rank 0 takes, each on this rank's share of the batch.

    Returns at rank 0's cue. Raises RankLost, and what rank 0 raises too: RanksDisagree,
    TrainingDiverged, ModelNotTrainable.
    """
    with repeatable(task.recipe.seed, device=device, threads=threads):
        begun = begin(task, load(task.parent, artifacts, device), artifacts, ranks=ranks)
        update = begun.update
        if state := read_checkpoint(artifacts, resume):
            update.restore(state)
        with Ahead(begun.reading.step, update.step, update.steps, device=device) as ahead:
            while (cue := ranks.heed()) is not Cue.END:
                if cue is Cue.STEP:
                    update.advance(ahead.take())
                else:
                    ranks.compare(begun.fingerprint)
