"""A server that says where it is once it can take work."""

import asyncio
import socket
import sys
import time

import uvicorn
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from api.dependencies import Services
from core.errors import NotReady
from core.ports import Platform
from core.use_cases.operations.readiness import check_readiness

LOOK_EVERY_S = 0.2
PATIENCE_S = 5.0  # an embedded worker starts in less; what takes longer is told


class AnnouncingServer(uvicorn.Server):
    """Writes its address to standard output: ready, or with what it waits for."""

    def __init__(self, app: FastAPI, *, address: str, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._app = app
        self._address = address
        self._announcing: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to serve, and then to look whether all that an order needs is there."""
        await super().startup(sockets=sockets)
        if self.started:
            services: Services = self._app.state.services
            self._announcing = asyncio.create_task(self._announce(services.platform))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Say nothing more, and end."""
        if self._announcing is not None:
            self._announcing.cancel()
        await super().shutdown(sockets=sockets)

    async def _announce(self, platform: Platform) -> None:
        """Say the address once the service is ready.

        The processes beside an API that runs no worker come and go: its address is said at once.
        """
        began, told = time.monotonic(), ""
        while platform.settings.embedded and (missing := await _missing(platform)):
            if missing != told and time.monotonic() - began >= PATIENCE_S:
                told = missing
                _say(f"Perennial answers at {self._address} but is not ready: it waits for {told}.")
            await asyncio.sleep(LOOK_EVERY_S)
        _say(f"Perennial is at {self._address}; Ctrl-C stops it.")


async def _missing(platform: Platform) -> str:
    """What `/readyz` would name; empty when the service is ready."""
    try:
        await run_in_threadpool(check_readiness, platform)
    except NotReady as fault:
        checks: dict[str, bool] = fault.facts["checks"]  # type: ignore[assignment]
        return ", ".join(name for name, good in checks.items() if not good)
    return ""


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
