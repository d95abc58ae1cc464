"""What a process that trains along is told: its environment says which rank it is."""

from dataclasses import dataclass

from core.domain.values import Digest
from core.ports import Artifacts, TrainingSpec


@dataclass(frozen=True, kw_only=True)
class RankTask:
    """An update as rank 0 begins it, and where."""

    spec: TrainingSpec
    resume: Digest | None
    artifacts: Artifacts  # a store that opens again in another process
    device: str  # rank 0's
    threads: int  # of each rank; 0: one per core
