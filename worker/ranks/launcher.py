"""Starting and ending of the rank processes, one for each GPU after the first."""

import contextlib
import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Self

import torch
import torch.distributed as dist

from core.artifacts.store import Artifacts
from core.errors import RankLost
from core.learning.distributed import PATIENCE_S, Ranks, process_group
from core.training.trainer import TrainingSpec
from core.values import Digest
from worker.ranks.follower import LOST_OTHERS, READY
from worker.ranks.rank_task import RankTask

HOST = "127.0.0.1"
ENDING_S = 10.0  # for the other ranks to exit once rank 0 is done
LOOKING_S = 2.0  # to find out how a rank that does not answer ended


class RankProcess:
    """A rank started by this process, with which it ends."""

    def __init__(self, rank: int, process: "subprocess.Popen[bytes]") -> None:
        self._rank = rank
        self._process = process

    @classmethod
    def start(cls, rank: int, *, size: int, port: int) -> Self:
        """Start one of `size` ranks, which all join on this machine at `port`."""
        environment = {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(size),
            "LOCAL_WORLD_SIZE": str(size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "worker.ranks.follower", "--parent", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | environment,
        )
        return cls(rank, process)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def hand(self, task: RankTask) -> None:
        """Send the rank its task. Raises RankLost."""
        pipe = self._process.stdin
        try:
            if pipe is not None:
                pickle.dump(task, pipe)
                pipe.flush()
        except BrokenPipeError as error:
            raise RankLost from error

    def wait_until_ready(self) -> None:
        """Wait until the rank is about to join. Raises RankLost."""
        pipe = self._process.stdout
        if pipe is None or pipe.readline() != READY:
            raise RankLost

    @property
    def fate(self) -> str | None:
        """The rank's loss in words; None while it runs, or if it lost another rank first."""
        code = self._process.poll()
        if code is None or code in {0, LOST_OTHERS}:
            return None
        how = f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"
        return f"Rank {self._rank} {how}."

    def wait(self, within_s: float) -> None:
        """Wait at most `within_s` seconds for the process to exit by itself."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(within_s)

    def kill(self) -> None:
        """Kill the process and reap it; nothing that it holds is needed."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # unsent bytes that have no reader
                    pipe.close()


class RankLauncher:
    """Launches `size - 1` ranks on this machine beside this process, which is rank 0."""

    def __init__(
        self,
        size: int,
        *,
        artifacts: Artifacts,
        threads: int = 0,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.size = size
        self._artifacts = artifacts
        self._threads = threads
        self._patience_s = patience_s

    @contextmanager
    def __call__(
        self, spec: TrainingSpec, resume: Digest | None, device: torch.device
    ) -> Iterator[Ranks]:
        """Start the other ranks, join them, and end them however the block ends.

        Raises RankLost, naming the rank that ended and how, when one did.
        """
        task = RankTask(
            spec=replace(spec, selection=None, fit=None),  # only rank 0 scores the weights
            resume=resume,
            artifacts=self._artifacts,
            device=str(device),
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
                device,
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
