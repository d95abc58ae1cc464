"""One started process of `worker.ranks.rank`, as rank 0 sees it."""

import contextlib
import os
import pickle
import subprocess
import sys
from typing import Self

from core.errors import RankLost
from worker.ranks.rank import LOST_OTHERS, READY
from worker.ranks.rank_task import RankTask


class RankProcess:
    """A rank that this process has started. It ends when this process does."""

    def __init__(self, rank: int, process: "subprocess.Popen[bytes]") -> None:
        self._rank = rank
        self._process = process

    @classmethod
    def start(cls, rank: int, *, size: int, port: int) -> Self:
        """Start a rank of `size`; all meet on this machine at `port`."""
        place = {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(size),
            "LOCAL_WORLD_SIZE": str(size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "worker.ranks.rank", "--parent", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | place,
        )
        return cls(rank, process)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def hand(self, handover: RankTask) -> None:
        """Tell it what to do. Raises RankLost."""
        pipe = self._process.stdin
        try:
            if pipe is not None:
                pickle.dump(handover, pipe)
                pipe.flush()
        except BrokenPipeError as error:
            raise RankLost from error

    def wait_until_ready(self) -> None:
        """Return once it is about to join. Raises RankLost."""
        pipe = self._process.stdout
        if pipe is None or pipe.readline() != READY:
            raise RankLost

    @property
    def fate(self) -> str | None:
        """How it was lost, in words; None while it lives, or when it lost others first."""
        code = self._process.poll()
        if code is None or code in {0, LOST_OTHERS}:
            return None
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return f"Rank {self._rank} {how}."

    def wait(self, within_s: float) -> None:
        """Let it end by itself, for at most that many seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(within_s)

    def kill(self) -> None:
        """End it at once and bury it: nothing of what it holds is needed."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # an unwritten rest, to nobody
                    pipe.close()
