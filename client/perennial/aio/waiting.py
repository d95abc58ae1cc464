"""Waiting for the end of a job."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from perennial.errors import JobFailed
from perennial.types.jobs import Job


async def wait_until_done(
    read: Callable[[], Awaitable[Job]],
    on_poll: Callable[[Job], object] | None,
    *,
    every: float,
    timeout: float | None,
) -> Job:
    """Read a job every so many seconds until it is done. Raises JobFailed and TimeoutError."""
    started = time.monotonic()
    while True:
        job = await read()
        if on_poll is not None:
            on_poll(job)
        if job["status"] == "succeeded":
            return job
        if job["done"]:
            raise JobFailed(job)
        if timeout is not None and time.monotonic() - started > timeout:
            raise TimeoutError(f"Job {job['id']} is {job['status']} after {timeout:g} s.")
        await asyncio.sleep(every)
