"""Prefetching of batches: the next ones are decoded while the current one is computed on."""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

import torch

CPU = torch.device("cpu")


class Data(Protocol):
    """A tensor, or several that are moved together."""

    def pin_memory(self) -> Self:
        """Return the data in page-locked memory."""

    def to(self, device: torch.device, *, non_blocking: bool) -> Self:
        """Return the data on a device."""


_D = TypeVar("_D", bound=Data)


class Prefetcher(Generic[_D]):
    """A thread that makes the batches of steps `first` to `last - 1`, up to `depth` ahead.

    `make(step)` must depend on the step alone: then the batches equal those of direct calls,
    wherever a run is resumed. Decoding and hashing release the GIL, so one thread suffices while
    torch computes. Memory is bounded by `depth` batches besides the one taken. For a CUDA device,
    batches wait in pinned memory and are copied while it computes.
    """

    def __init__(
        self,
        make: Callable[[int], _D],
        first: int,
        last: int,
        *,
        depth: int = 2,
        device: torch.device = CPU,
    ) -> None:
        self.waited_s = 0.0  # total time that `take` has waited for data
        self._make = make
        self._device = device
        self._steps = iter(range(first, last))
        self._depth = depth
        self._pending: deque[Future[_D]] = deque()

    def __enter__(self) -> Self:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead")
        for _ in range(self._depth):
            self._submit_next()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the thread once the batch in progress is made; drop the batches not begun."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._pending.clear()

    def take(self) -> _D:
        """Return the next step's batch.

        Raises what making it raised, or IndexError after the last step.
        """
        pending = self._pending.popleft()
        began = time.perf_counter()
        batch = pending.result()
        self.waited_s += time.perf_counter() - began
        self._submit_next()
        return batch.to(self._device, non_blocking=True)

    def _submit_next(self) -> None:
        for step in self._steps:
            self._pending.append(self._thread.submit(self._prepare, step))
            return

    def _prepare(self, step: int) -> _D:
        batch = self._make(step)
        return batch.pin_memory() if self._device.type == "cuda" else batch
