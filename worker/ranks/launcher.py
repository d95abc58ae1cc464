"""Starts and ends the processes that train along: one for each further GPU."""

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
ENDING_S = 10.0  # from rank 0's last word to the end of the others
LOOKING_S = 2.0  # for what became of a rank that does not answer


class RankLauncher:
    """Gather with `size - 1` processes of this machine beside this one."""

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
        """Start the others, join them, and leave none behind however this ends.

        Raises RankLost, naming the rank that ended and how, when one did.
        """
        handover = RankTask(
            spec=replace(spec, selection=None),  # rank 0 alone concludes
            resume=resume,
            artifacts=self._artifacts,
            device=str(self._device),
            threads=self._threads,
        )
        with (
            _meeting_place(self.size) as port,
            _companions(self.size, port) as processes,
        ):
            for process in processes:
                process.hand(handover)
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
def _meeting_place(size: int) -> Iterator[int]:
    """Where the ranks find each other: a free port that only this machine reaches."""
    listener = socket.create_server((HOST, 0))
    port: int = listener.getsockname()[1]
    store = dist.TCPStore(  # type: ignore[attr-defined]
        HOST,
        port,
        size,
        is_master=True,
        wait_for_workers=False,
        multi_tenant=True,  # `joined` finds it by its port
        master_listen_fd=listener.detach(),
    )
    try:
        yield port
    finally:
        del store  # an error that is kept would keep it too


@contextmanager
def _companions(size: int, port: int) -> Iterator[Sequence[RankProcess]]:
    """Ranks 1 to `size - 1`, gone when this closes; a RankLost from within says which was lost."""
    started: list[RankProcess] = []
    try:
        for rank in range(1, size):
            started.append(RankProcess.start(rank, size=size, port=port))
        yield started
    except RankLost as fault:
        if fate := _fate(started):
            raise RankLost(f"{fate} The worker's log may say why.") from fault
        raise
    finally:
        for process in started:
            process.kill()


def _fate(processes: Sequence[RankProcess]) -> str | None:
    """What became of the rank that was lost, once that is known."""
    until = time.monotonic() + LOOKING_S
    while time.monotonic() < until:
        for process in processes:
            if fate := process.fate:
                return fate
        time.sleep(0.02)
    return None
