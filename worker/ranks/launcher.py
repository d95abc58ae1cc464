"""Starting and ending of the rank processes, one for each GPU after the first."""

import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
import torch.distributed as dist

from core.domain.values import Digest
from core.errors import RankLost
from core.learning.distributed.process_group import PATIENCE_S, process_group
from core.learning.distributed.ranks import Ranks
from core.ports import Artifacts, TrainingSpec
from worker.ranks.rank_process import RankProcess
from worker.ranks.rank_task import RankTask

HOST = "127.0.0.1"
ENDING_S = 10.0  # for the other ranks to exit once rank 0 is done
LOOKING_S = 2.0  # to find out how a rank that does not answer ended


class RankLauncher:
    """Launches `size - 1` ranks on this machine beside this process, which is rank 0."""

    def __init__(
        self,
        size: int,
        *,
        artifacts: Artifacts,
        device: torch.device,
        threads: int = 0,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.size = size
        self._artifacts = artifacts
        self._device = device
        self._threads = threads
        self._patience_s = patience_s

    @contextmanager
    def __call__(self, spec: TrainingSpec, resume: Digest | None) -> Iterator[Ranks]:
        """Start the other ranks, join them, and end them however the block ends.

        Raises RankLost, naming the rank that ended and how, when one did.
        """
        task = RankTask(
            spec=replace(spec, selection=None),  # only rank 0 scores the trained weights
            resume=resume,
            artifacts=self._artifacts,
            device=str(self._device),
            threads=self._threads,
        )
        with (
            _rendezvous(self.size) as port,
            _started_ranks(self.size, port) as processes,
        ):
            for process in processes:
                process.hand(task)
            for process in processes:
                process.wait_until_ready()
            with process_group(
                self._device,
                meeting=f"tcp://{HOST}:{port}",
                rank=0,
                size=self.size,
                patience_s=self._patience_s,
            ) as ranks:
                yield ranks
            for process in processes:
                process.wait(ENDING_S)


@contextmanager
def _rendezvous(size: int) -> Iterator[int]:
    """Open the ranks' rendezvous store on a free port that only this machine reaches."""
    listener = socket.create_server((HOST, 0))
    port: int = listener.getsockname()[1]
    store = dist.TCPStore(  # type: ignore[attr-defined]
        HOST,
        port,
        size,
        is_master=True,
        wait_for_workers=False,
        multi_tenant=True,  # `process_group` finds it by its port
        master_listen_fd=listener.detach(),
    )
    try:
        yield port
    finally:
        del store  # or else the traceback of an error would keep it open


@contextmanager
def _started_ranks(size: int, port: int) -> Iterator[Sequence[RankProcess]]:
    """Start ranks 1 to `size - 1` and kill them in the end.

    A RankLost from the block is raised again with the rank that was lost and how.
    """
    started: list[RankProcess] = []
    try:
        for rank in range(1, size):
            started.append(RankProcess.start(rank, size=size, port=port))
        yield started
    except RankLost as fault:
        if fate := _fate(started):
            raise RankLost(f"{fate} The worker's log may have the reason.") from fault
        raise
    finally:
        for process in started:
            process.kill()


def _fate(processes: Sequence[RankProcess]) -> str | None:
    """Return how the lost rank ended, waiting LOOKING_S seconds at most for it to be known."""
    until = time.monotonic() + LOOKING_S
    while time.monotonic() < until:
        for process in processes:
            if fate := process.fate:
                return fate
        time.sleep(0.02)
    return None
