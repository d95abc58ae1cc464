"""The ranks: the processes that train one student together, one in all or one for each GPU.

Only rank 0 reports to the job, keeps checkpoints and publishes; the others follow its commands.
All take the same step from the same summed gradients, so all have the same weights.
"""

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from enum import IntEnum
from typing import Any, Protocol, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import _abort_process_group

from core.errors import RankLost, RanksDisagree
from core.training.trainer import TrainingSpec
from core.values import Digest

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
        self, spec: TrainingSpec, resume: Digest | None, device: torch.device
    ) -> AbstractContextManager["Ranks"]:
        """Start the ranks and return rank 0's view; all train `spec` from checkpoint `resume`.

        `device` is rank 0's.
        """


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

    def __call__(
        self, spec: TrainingSpec, resume: Digest | None, device: torch.device
    ) -> AbstractContextManager[Ranks]:
        """Return a single rank."""
        del spec, resume, device
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


# The process group through which a process becomes one of an update's ranks.

PATIENCE_S = 300.0  # timeout of collectives
COMMAND_PATIENCE_S = 3600.0  # timeout of commands, for rank 0 may be writing a checkpoint


def rank_device(first: torch.device, local_rank: int) -> torch.device:
    """Return the device of a rank: the GPUs after rank 0's in order, or the shared CPU."""
    if first.type != "cuda":
        return first
    return torch.device("cuda", (first.index or 0) + local_rank)


@contextmanager
def process_group(
    device: torch.device,
    *,
    meeting: str = "env://",
    rank: int = -1,
    size: int = -1,
    patience_s: float = PATIENCE_S,
) -> Iterator[DistributedRanks]:
    """Join the ranks within the context: over NCCL on CUDA, over gloo elsewhere.

    By default the rank, their number and the rendezvous address come from RANK, WORLD_SIZE,
    MASTER_ADDR and MASTER_PORT, as torchrun sets them. All ranks are on this machine, and only
    the loopback interface is used. Raises RankLost when the ranks do not connect within
    `patience_s` seconds.
    """
    cuda = device.type == "cuda"
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
    os.environ.setdefault("NCCL_SOCKET_IFNAME", loopback)
    # NCCL does not notice that a rank has ended: a wait for it must time out with an error.
    os.environ.setdefault("TORCH_NCCL_BLOCKING_WAIT", "1")
    if cuda:
        torch.cuda.set_device(device)
    try:
        dist.init_process_group(
            "nccl" if cuda else "gloo",
            init_method=meeting,
            rank=rank,
            world_size=size,
            timeout=timedelta(seconds=patience_s),
            device_id=device if cuda else None,
        )
        patience_s = patience_s if dist.get_rank() == 0 else COMMAND_PATIENCE_S
        commands = dist.new_group(backend="gloo", timeout=timedelta(seconds=patience_s))
    except RuntimeError as error:
        _leave(cuda=cuda)
        raise RankLost("The training processes could not connect to each other.") from error
    try:
        # A rank outside the group gets a number instead; this group has all.
        yield DistributedRanks(device, cast("dist.ProcessGroup", commands))
    finally:
        _leave(cuda=cuda)


def _leave(*, cuda: bool) -> None:
    if not dist.is_initialized():
        return
    if cuda:
        _abort_process_group()  # an orderly shutdown would wait for ranks that may have ended
    else:
        dist.destroy_process_group()


# The torch settings that make a run deterministic.

# `torch.use_deterministic_algorithms(True)` does the same and imports torch's compiler: 2 seconds.
DETERMINISTIC = "error"  # for `torch.set_deterministic_debug_mode`


@contextmanager
def repeatable(seed: int, *, device: torch.device, threads: int) -> Iterator[None]:
    """Use deterministic algorithms, `threads` threads and seeded generators within the context.

    The previous settings are restored at the end. The same training spec, device, number of
    threads and libraries give bit-identical results.
    """
    cuda = device.type == "cuda"
    if cuda:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    memory: Any = torch.utils.deterministic
    before = (
        torch.get_deterministic_debug_mode(),
        memory.fill_uninitialized_memory,
        torch.backends.cudnn.benchmark,
        torch.backends.mha.get_fastpath_enabled(),
        torch.get_num_threads(),
    )
    with torch.random.fork_rng(devices=[device] if cuda else []):
        try:
            torch.manual_seed(seed)
            # Filling uninitialised memory only costs time. Attention's fast path runs only
            # without gradients, so the teacher's features would be rounded differently.
            _set(DETERMINISTIC, fill=False, benchmark=False, fastpath=False, threads=threads)
            yield
        finally:
            _set(*before)


def _set(mode: int | str, fill: bool, benchmark: bool, fastpath: bool, threads: int) -> None:
    memory: Any = torch.utils.deterministic
    torch.set_deterministic_debug_mode(mode)
    memory.fill_uninitialized_memory = fill
    torch.backends.cudnn.benchmark = benchmark
    torch.backends.mha.set_fastpath_enabled(fastpath)
    torch.set_num_threads(threads)
