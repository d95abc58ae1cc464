"""Everything in torch that could make two runs differ, held still for one run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

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
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
        torch.backends.cudnn.benchmark,
        torch.backends.mha.get_fastpath_enabled(),
        torch.get_num_threads(),
    )
    with torch.random.fork_rng(devices=[device] if cuda else []):
        try:
            torch.use_deterministic_algorithms(True)
            torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
            torch.backends.cudnn.benchmark = False
            torch.backends.mha.set_fastpath_enabled(False)  # it rounds unlike the student's path
            torch.set_num_threads(threads)
            torch.manual_seed(seed)
            yield
        finally:
            torch.use_deterministic_algorithms(before[0])
            torch.utils.deterministic.fill_uninitialized_memory = before[1]
            torch.backends.cudnn.benchmark = before[2]
            torch.backends.mha.set_fastpath_enabled(before[3])
            torch.set_num_threads(before[4])
