"""HTTP server that prints its address once the service is ready."""

import asyncio
import gc
import socket
import sys
import time

import uvicorn
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from api.dependencies import Services
from api.http.paths import FIRST_STEPS, PAGES, SIGN_IN
from core.errors import NotReady
from core.ports import Platform
from core.use_cases.operations.readiness import check_readiness

POLL_EVERY_S = 0.2
REPORT_AFTER_S = 5.0  # an embedded worker starts faster; report only longer waits


class AnnouncingServer(uvicorn.Server):
    """uvicorn server that prints its address, or what it still waits for, to standard output."""

    def __init__(self, app: FastAPI, *, address: str, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._app = app
        self._address = address
        self._announcing: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to serve, then announce the address in the background.

        What is there by then stays as long as the process: it is taken from the garbage collector,
        which would search all of it again and again and keep requests waiting meanwhile.
        """
        await super().startup(sockets=sockets)
        if self.started:
            gc.collect()
            gc.freeze()
            services: Services = self._app.state.services
            self._announcing = asyncio.create_task(self._announce(services))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop announcing and shut down."""
        if self._announcing is not None:
            self._announcing.cancel()
        await super().shutdown(sockets=sockets)

    async def _announce(self, services: Services) -> None:
        """Print the address once the service is ready.

        An API that is not embedded starts no worker itself, so it does not wait for one: it prints
        its address at once.
        """
        platform = services.platform
        began, reported = time.monotonic(), ""
        while platform.settings.embedded and (missing := await _missing(platform)):
            if missing != reported and time.monotonic() - began >= REPORT_AFTER_S:
                reported = missing
                _print_line(f"Perennial is starting at {self._address}: waiting for {missing}.")
            await asyncio.sleep(POLL_EVERY_S)
        _print_line(await run_in_threadpool(_greeting, self._address, services))


def _greeting(address: str, services: Services) -> str:
    """Return where the service is, and how to sign in."""
    link = services.sign_in_link
    if link is None:
        return (
            f"Perennial is running at {address}; open it in a browser and sign in with an API key, "
            "or press Ctrl-C to stop it."
        )
    with services.platform.transactions(read_only=True) as work:
        newest = [work.versions.newest(model.id) for model in work.models.page(10, None)]
    first = all(version is None or version.is_root for version in newest)
    return (
        f"Perennial is running at {address}; press Ctrl-C to stop it.\n"
        "To sign in as admin, open this link. It works once, and for an hour; later, sign in with "
        f"the admin key.\n{address}{SIGN_IN}?link={link.token}"
        f"&next={FIRST_STEPS if first else PAGES}"
    )


async def _missing(platform: Platform) -> str:
    """Return the names of the checks that `/readyz` fails, "" when the service is ready."""
    try:
        await run_in_threadpool(check_readiness, platform)
    except NotReady as error:
        checks: dict[str, bool] = error.facts["checks"]  # type: ignore[assignment]
        return ", ".join(name for name, good in checks.items() if not good)
    return ""


def _print_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
