"""Progress within what takes minutes: a library that reports none, or a pass through a model."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from core.artifacts.store import BytesCallback
from core.jobs.rules import Monitor

LOOK_EVERY_S = 1.0
REPORT_EVERY_S = 0.05  # small models have hundreds of layers that take microseconds

_T = TypeVar("_T")


def while_computing(
    compute: Callable[[], _T],
    monitor: Monitor,
    *,
    look_every_s: float = LOOK_EVERY_S,
    processor_s: Callable[[], float] = time.process_time,
) -> _T:
    """Return what `compute` returns; meanwhile, renew the job's lease as long as it computes.

    That is, while this process takes processor time: if it hangs, the lease expires. Raises what
    `compute` or the monitor raises, the latter once `compute` has ended.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="computing") as pool:
        result: Future[_T] = pool.submit(compute)
        seen = processor_s()
        while not wait([result], timeout=look_every_s).done:
            now = processor_s()
            if now - seen > look_every_s / 10:
                monitor.moved(0)
            seen = now
        return result.result()


@contextmanager
def reporting_layers(moved: BytesCallback) -> Iterator[None]:
    """Call `moved(0)` after layers of any model, forward and backward, within the context.

    So a lease is renewed within a pass of a large batch, and expires if a layer hangs, also on a
    GPU: torch waits for it after a bounded number of kernels. Layers that end within 50 ms of the
    last one that was reported are left out, forward and backward. No value changes, as the hooks
    return nothing. What `moved` raises ends the pass.
    """
    reported = time.monotonic()

    def told(_gradient: Tensor) -> None:
        moved(0)

    def computed(_layer: nn.Module, _inputs: Any, output: Any) -> None:
        nonlocal reported
        now = time.monotonic()
        if now - reported < REPORT_EVERY_S:
            return
        reported = now
        moved(0)
        for each in output if isinstance(output, tuple) else (output,):
            if isinstance(each, Tensor) and each.grad_fn is not None:
                each.register_hook(told)  # type: ignore[no-untyped-call]

    # Of all modules at once: an update loads teachers, anchors and other versions as it goes.
    hook = register_module_forward_hook(computed)
    try:
        yield
    finally:
        hook.remove()
