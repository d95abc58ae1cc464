"""The torch settings that make a run deterministic."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

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
