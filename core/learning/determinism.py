"""Everything in torch that could make two runs differ, held still for one run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def repeatable(seed: int, *, device: torch.device, threads: int) -> Iterator[None]:
    """Deterministic algorithms, a thread count and torch's own generators seeded.

    What was set before is set again at the end. Same task, device, threads and libraries
    give the same bits.
    """
    cuda = device.type == "cuda"
    if cuda:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    memory: Any = torch.utils.deterministic
    before = (
        torch.are_deterministic_algorithms_enabled(),
        memory.fill_uninitialized_memory,
        torch.backends.cudnn.benchmark,
        torch.backends.mha.get_fastpath_enabled(),
        torch.get_num_threads(),
    )
    with torch.random.fork_rng(devices=[device] if cuda else []):
        try:
            torch.manual_seed(seed)
            # The filling of fresh memory only costs time; attention's fast path, which runs
            # without gradient alone, would round the teacher unlike the student.
            _set(deterministic=True, fill=False, benchmark=False, fastpath=False, threads=threads)
            yield
        finally:
            _set(*before)


def _set(deterministic: bool, fill: bool, benchmark: bool, fastpath: bool, threads: int) -> None:
    memory: Any = torch.utils.deterministic
    torch.use_deterministic_algorithms(deterministic)
    memory.fill_uninitialized_memory = fill
    torch.backends.cudnn.benchmark = benchmark
    torch.backends.mha.set_fastpath_enabled(fastpath)
    torch.set_num_threads(threads)
