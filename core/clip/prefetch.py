"""Batches made ahead: the next ones are decoded while the current one is computed with."""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

import torch

CPU = torch.device("cpu")


class Data(Protocol):
    """A tensor, or several that move together."""

    def pin_memory(self) -> Self:
        """The same in page-locked memory."""

    def to(self, device: torch.device, *, non_blocking: bool) -> Self:
        """The same on a device."""


_D = TypeVar("_D", bound=Data)


class Ahead(Generic[_D]):
    """Makes the batches of steps `first` to `last - 1` in a thread, up to `depth` ahead.

    `make(step)` must depend on the step alone: then the batches are the ones that calling it
    directly gives, wherever a run is resumed. Decoding and hashing release the interpreter, so
    one thread suffices while torch computes. Memory is bounded by `depth` batches besides the
    one taken. For a CUDA device batches wait in pinned memory and are copied while it computes.
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
        self.waited_s = 0.0  # that `take` has waited for data so far
        self._make = make
        self._device = device
        self._steps = iter(range(first, last))
        self._depth = depth
        self._made: deque[Future[_D]] = deque()

    def __enter__(self) -> Self:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead")
        for _ in range(self._depth):
            self._order()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the thread: what it is making is finished, what it has not begun is dropped."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._made.clear()

    def take(self) -> _D:
        """The next step's batch; raises what making it raised, IndexError behind the last."""
        made = self._made.popleft()
        began = time.perf_counter()
        batch = made.result()
        self.waited_s += time.perf_counter() - began
        self._order()
        return batch.to(self._device, non_blocking=True)

    def _order(self) -> None:
        for step in self._steps:
            self._made.append(self._thread.submit(self._prepare, step))
            return

    def _prepare(self, step: int) -> _D:
        batch = self._make(step)
        return batch.pin_memory() if self._device.type == "cuda" else batch
