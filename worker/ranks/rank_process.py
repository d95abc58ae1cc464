"""Rank 0's handle on one process of `worker.ranks.follower`."""

import contextlib
import os
import pickle
import subprocess
import sys
from typing import Self

from core.errors import RankLost
from worker.ranks.follower import LOST_OTHERS, READY
from worker.ranks.rank_task import RankTask


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
