"""Rank 1 of 2 as a process that follows one update after another, to be started only once."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.loading import loading

with loading():
    import torch

    from core.artifacts.local import LocalArtifacts
    from core.errors import RanksDisagree, TrainingDiverged
    from core.learning.distributed import Command, DistributedRanks, process_group
    from core.learning.trainer import run_follower
    from core.training.trainer import TrainingSpec
    from core.values import Digest
    from devtools.ports import free_port

CPU = torch.device("cpu")


class Twin:
    """Rank 0's side: a Gather whose other rank stays for the next update."""

    size = 2

    def __init__(self, group: DistributedRanks, orders: Any, folder: Path) -> None:
        self.group = group
        self.told: TrainingSpec | None = None  # what rank 1 is told instead of the truth
        self._orders = orders
        self._folder = folder

    @contextmanager
    def __call__(
        self, spec: TrainingSpec, resume: Digest | None, device: torch.device
    ) -> Iterator[DistributedRanks]:
        assert device == CPU
        pickle.dump((self._folder, self.told or spec, resume), self._orders)
        self._orders.flush()
        try:
            yield self.group
        except (TrainingDiverged, RanksDisagree):
            raise  # rank 1 has seen it too
        except BaseException:
            self.group.send_command(Command.END)
            raise


@contextmanager
def twin_of(folder: Path) -> Iterator[Twin]:
    """Start rank 1 on the artifacts in a folder."""
    port = free_port()
    place = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.learning.rank_twin"],
        stdin=subprocess.PIPE,
        env=os.environ | place,
    )
    try:
        with process_group(CPU, meeting=f"tcp://127.0.0.1:{port}", rank=0, size=2) as group:
            yield Twin(group, process.stdin, folder)
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        finally:
            process.kill()


def main() -> None:
    with process_group(CPU) as ranks:
        while sys.stdin.buffer.peek(1):
            folder, spec, resume = pickle.load(sys.stdin.buffer)
            try:
                run_follower(
                    spec, LocalArtifacts(folder), ranks, resume=resume, device=CPU, threads=1
                )
            except (TrainingDiverged, RanksDisagree):
                continue


if __name__ == "__main__":
    main()
    os._exit(0)  # taking torch apart takes a second
