"""The process group through which a process becomes one of an update's ranks."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import cast

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import _abort_process_group

from core.errors import RankLost
from core.learning.distributed.ranks import DistributedRanks

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
