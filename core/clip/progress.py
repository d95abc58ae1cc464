"""Progress while a library computes for minutes without reporting any."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

from core.jobs.rules import Monitor

LOOK_EVERY_S = 1.0

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
