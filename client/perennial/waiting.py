# Written by `python -m devtools.sync_client` from perennial/aio/waiting.py: change that.
"""Waiting for the end of a job."""

import time
from collections.abc import Callable

from perennial.errors import JobFailed
from perennial.types.jobs import Job


def wait_until_done(
    read: Callable[[], Job],
    on_poll: Callable[[Job], object] | None,
    *,
    every: float,
    timeout: float | None,
) -> Job:
    """Read a job every so many seconds until it is done. Raises JobFailed and TimeoutError."""
    started = time.monotonic()
    while True:
        job = read()
        if on_poll is not None:
            on_poll(job)
        if job["status"] == "succeeded":
            return job
        if job["done"]:
            raise JobFailed(job)
        if timeout is not None and time.monotonic() - started > timeout:
            raise TimeoutError(f"Job {job['id']} is {job['status']} after {timeout:g} s.")
        time.sleep(every)
