"""A client for the time of a command."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from perennial.client import Client
from perennial.errors import JobFailed, ServiceError
from perennial.terminal.failures import explained
from perennial.terminal.login import Login, current

# Advice and answers may wait until a version has been loaded.
TIMEOUT = httpx.Timeout(600.0, connect=10.0)


@contextmanager
def connected(login: Login | None = None) -> Iterator[Client]:
    """Yield a client of the service that is logged in to. Raises Failure."""
    chosen = login or current()
    try:
        with Client(chosen.url, chosen.key, timeout=TIMEOUT) as client:
            yield client
    except (ServiceError, JobFailed, httpx.TransportError, httpx.InvalidURL) as error:
        raise explained(error, chosen.url) from error
