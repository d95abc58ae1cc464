"""Threads that are kept for one kind of work, so that it leaves those of all requests to others."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


class Threads:
    """Runs work in a few threads; more of it waits.

    anyio, which counts its threads at each call, takes several times as long to reach one.
    """

    def __init__(self, count: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=name)

    def start(self, work: Callable[..., T], *args: Any) -> "asyncio.Future[T]":
        """Return the future result of work; if that is cancelled, the work may go on."""
        return asyncio.wrap_future(self._pool.submit(copy_context().run, partial(work, *args)))

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        """Return what work returns. It has ended when this returns or raises."""
        future = self.start(work, *args)
        try:
            return await asyncio.shield(future)
        finally:
            if not future.done():
                await asyncio.wait([future])

    def close(self) -> None:
        """End the threads, after the work in progress."""
        self._pool.shutdown()
