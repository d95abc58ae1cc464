"""What a process that trains along is told: its environment says which rank it is."""

from dataclasses import dataclass
from pathlib import Path

from core.domain.values import Digest
from core.ports import TrainingTask


@dataclass(frozen=True, kw_only=True)
class Handover:
    """An update as rank 0 begins it, and where."""

    task: TrainingTask
    resume: Digest | None
    artifacts: Path  # the store's folder
    device: str  # rank 0's
    threads: int  # of each rank; 0: one per core
