"""The task that rank 0 sends to another rank."""

from dataclasses import dataclass

from core.artifacts.store import Artifacts
from core.training.trainer import TrainingSpec
from core.values import Digest


@dataclass(frozen=True, kw_only=True)
class RankTask:
    """An update as rank 0 begins it, and the device. The environment says which rank this is."""

    spec: TrainingSpec
    resume: Digest | None
    artifacts: Artifacts  # a store that opens again in another process
    device: str  # rank 0's
    threads: int  # of each rank; 0: OMP_NUM_THREADS, or else one per core
