"""The ranks: the processes that train one student together, one in all or one for each GPU.

Only rank 0 reports to the job, keeps checkpoints and publishes; the others follow its commands.
All take the same step from the same summed gradients, so all have the same weights.
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

BUCKET = 2**24  # elements reduced at once: 64 MiB of fp32


class Command(IntEnum):
    """The next operation of all ranks, as rank 0 decides it."""

    STEP = 1
    COMPARE = 2
    END = 3


class Ranks(Protocol):
    """The group of ranks that share each batch, seen from one of them."""

    rank: int
    size: int

    def all_reduce_sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the ranks. Raises RankLost."""

    def send_command(self, command: Command) -> None:
        """Send the next command to the other ranks, as rank 0. Raises RankLost."""

    def compare(self, fingerprint: Callable[[], Digest]) -> None:
        """Raise RanksDisagree in every rank unless all fingerprints are equal; rank 0 initiates."""


class RankProvider(Protocol):
    """Starts the ranks of an update, which run as long as the returned context is open."""

    @property
    def size(self) -> int:
        """The number of ranks."""

    def __call__(
        self, spec: TrainingSpec, resume: Digest | None
    ) -> AbstractContextManager["Ranks"]:
        """Start the ranks and return rank 0's view; all train `spec` from checkpoint `resume`."""


class SingleRank:
    """The ranks of an update that trains in this process alone."""

    rank = 0
    size = 1

    def all_reduce_sum(self, tensors: Sequence[Tensor]) -> None:
        """Do nothing: the sum over one rank is the tensor itself."""

    def send_command(self, command: Command) -> None:
        """Do nothing: there is no other rank."""

    def compare(self, fingerprint: Callable[[], Digest]) -> None:
        """Do nothing: there is no other fingerprint."""


class SingleRankProvider:
    """Provides this process as the only rank."""

    size = 1

    def __call__(self, spec: TrainingSpec, resume: Digest | None) -> AbstractContextManager[Ranks]:
        """Return a single rank."""
        del spec, resume
        return nullcontext(SingleRank())


class DistributedRanks:
    """Ranks in torch.distributed's default process group, with another group for commands.

    The group for commands has a longer timeout.
    """

    def __init__(self, device: torch.device, commands: dist.ProcessGroup) -> None:
        self.rank = dist.get_rank()
        self.size = dist.get_world_size()
        self._device = device
        self._commands = commands

    def all_reduce_sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the ranks, a bucket at a time. Raises RankLost."""
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.flatten() for tensor in bucket])
            with _raising_rank_lost():
                dist.all_reduce(flat)
            parts = torch.split(flat, [tensor.numel() for tensor in bucket])
            for tensor, part in zip(bucket, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def send_command(self, command: Command) -> None:
        """Send the next command to the other ranks, as rank 0. Raises RankLost."""
        self._broadcast(torch.tensor(command))

    def receive_command(self) -> Command:
        """Wait for rank 0's next command, as another rank. Raises RankLost."""
        return Command(int(self._broadcast(torch.tensor(0))))

    def compare(self, fingerprint: Callable[[], Digest]) -> None:
        """Raise RanksDisagree in every rank unless all fingerprints are equal; rank 0 initiates."""
        if self.rank == 0:
            self.send_command(Command.COMPARE)
        mine = torch.tensor(
            list(bytes.fromhex(fingerprint())), dtype=torch.uint8, device=self._device
        )
        found = [torch.empty_like(mine) for _ in range(self.size)]
        with _raising_rank_lost():
            dist.all_gather(found, mine)
        if any(not torch.equal(other, mine) for other in found):
            raise RanksDisagree

    def _broadcast(self, value: Tensor) -> Tensor:
        with _raising_rank_lost():
            dist.broadcast(value, src=0, group=self._commands)
        return value


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Yield the tensors in order, in lists of at most BUCKET elements or of one tensor."""
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
def _raising_rank_lost() -> Iterator[None]:
    """Raise RankLost for the plain RuntimeError that torch raises when a rank does not answer."""
    try:
        yield
    except RuntimeError as error:
        raise RankLost from error
