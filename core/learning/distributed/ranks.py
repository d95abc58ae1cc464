"""The processes that train one student together: one, or one for each GPU.

Rank 0 leads: it alone watches the job, keeps checkpoints and publishes. The others follow its
cues. All take the same step from the same summed gradients, so all hold the same weights.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import IntEnum
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from core.domain.values import Digest
from core.errors import RankLost, RanksDisagree
from core.ports import TrainingSpec

BUCKET = 2**24  # numbers that travel at once: 64 MiB of fp32


class Command(IntEnum):
    """What rank 0 does next, and the others with it."""

    STEP = 1
    COMPARE = 2
    END = 3


class Ranks(Protocol):
    """Who shares a batch."""

    rank: int
    size: int

    def all_reduce_sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the ranks. Raises RankLost."""

    def send_command(self, command: Command) -> None:
        """Say, as rank 0, what comes next. Raises RankLost."""

    def compare(self, fingerprint: Callable[[], Digest]) -> None:
        """Raise RanksDisagree in every rank unless all have the same one; rank 0 leads."""


class RankProvider(Protocol):
    """Brings the ranks of an update together for as long as its context is open."""

    @property
    def size(self) -> int:
        """How many they are."""

    def __call__(
        self, spec: TrainingSpec, resume: Digest | None
    ) -> AbstractContextManager["Ranks"]:
        """Rank 0's side of them; the others begin the same task at the same checkpoint."""


class SingleRank:
    """One process reads the whole batch."""

    rank = 0
    size = 1

    def all_reduce_sum(self, tensors: Sequence[Tensor]) -> None:
        """The sum over one."""

    def send_command(self, command: Command) -> None:
        """Nobody listens."""

    def compare(self, fingerprint: Callable[[], Digest]) -> None:
        """Nobody disagrees."""


class SingleRankProvider:
    """Gathers this process alone."""

    size = 1

    def __call__(self, spec: TrainingSpec, resume: Digest | None) -> AbstractContextManager[Ranks]:
        """One rank."""
        del spec, resume
        return nullcontext(SingleRank())


class DistributedRanks:
    """The default process group of torch.distributed, and a patient one for rank 0's cues."""

    def __init__(self, device: torch.device, commands: dist.ProcessGroup) -> None:
        self.rank = dist.get_rank()
        self.size = dist.get_world_size()
        self._device = device
        self._cues = commands

    def all_reduce_sum(self, tensors: Sequence[Tensor]) -> None:
        """All-reduce the tensors laid end to end, a bucket at a time."""
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.flatten() for tensor in bucket])
            with _within_reach():
                dist.all_reduce(flat)
            parts = torch.split(flat, [tensor.numel() for tensor in bucket])
            for tensor, part in zip(bucket, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def send_command(self, command: Command) -> None:
        """Say, as rank 0, what comes next."""
        self._broadcast(torch.tensor(command))

    def receive_command(self) -> Command:
        """Wait, as another rank, for what comes next. Raises RankLost."""
        return Command(int(self._broadcast(torch.tensor(0))))

    def compare(self, fingerprint: Callable[[], Digest]) -> None:
        """Raise RanksDisagree in every rank unless all have the same one; rank 0 leads."""
        if self.rank == 0:
            self.send_command(Command.COMPARE)
        mine = torch.tensor(
            list(bytes.fromhex(fingerprint())), dtype=torch.uint8, device=self._device
        )
        found = [torch.empty_like(mine) for _ in range(self.size)]
        with _within_reach():
            dist.all_gather(found, mine)
        if any(not torch.equal(other, mine) for other in found):
            raise RanksDisagree

    def _broadcast(self, word: Tensor) -> Tensor:
        with _within_reach():
            dist.broadcast(word, src=0, group=self._cues)
        return word


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors in order, in lists of at most BUCKET numbers or of one tensor."""
    bucket: list[Tensor] = []
    room = BUCKET
    for tensor in tensors:
        if bucket and tensor.numel() > room:
            yield bucket
            bucket, room = [], BUCKET
        bucket.append(tensor)
        room -= tensor.numel()
    yield bucket


@contextmanager
def _within_reach() -> Iterator[None]:
    """Name what torch raises, without a class of its own, when another rank does not answer."""
    try:
        yield
    except RuntimeError as error:
        raise RankLost from error
