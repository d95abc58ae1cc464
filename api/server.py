"""The HTTP server: it binds a port, announces its address, and has deadlines for slow clients."""

import asyncio
import errno
import gc
import logging
import signal
import socket
import sys
import time
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from api.app import create_app
from api.dependencies import Services
from api.http.middleware import SECURITY_HEADERS, Layer, fresh_request_id
from api.http.problems import problem_of
from api.http.routing import FIRST_STEPS, PAGES, SIGN_IN
from core.bootstrap import require_own_database
from core.errors import Malformed, NotReady, PerennialError, RequestTimeout, UnsafeConfiguration
from core.operations.maintenance import check_readiness
from core.platform import Platform
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.settings import Settings

GRACE_S = 5  # for requests in flight; event streams are cut off after it
YOUNG_OBJECTS = 10_000  # that the garbage collector searches at a time; a request makes hundreds
POLL_EVERY_S = 0.2
REPORT_AFTER_S = 5.0  # an embedded worker starts faster; report only longer waits

log = logging.getLogger(__name__)


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or Ctrl-C and return the exit code.

    Raises UnsafeConfiguration, also for a port in use or a database that another version made.
    """
    require_own_database(settings)
    # After a graceful shutdown, uvicorn restores this handler and raises the signal again.
    signal.signal(signal.SIGTERM, _exit_on_sigterm)
    app_settings = with_free_inference_port(settings)
    app = create_app(app_settings)
    with listen(settings.host, settings.port) as bound:
        port = bound.getsockname()[1]
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        address = f"http://{host}:{port}"
        server = AnnouncingServer(app, address=address, config=uvicorn_config(app, settings))
        try:
            server.run(sockets=[bound])
        except KeyboardInterrupt:
            return 130
    return 0 if server.started else 1


def uvicorn_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """Return the uvicorn configuration for an app."""
    return uvicorn.Config(
        WholeAnswers(app),
        http=partial(Connection, receive_seconds=settings.receive_seconds),  # type: ignore[arg-type]
        log_config=None,  # core/logs.py configures logging
        access_log=False,  # api/observability.py logs requests
        log_level="warning",
        server_header=False,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=GRACE_S,
    )


def _exit_on_sigterm(_number: int, _frame: FrameType | None) -> None:
    """Exit with code 0: ending on SIGTERM is a success."""
    sys.exit(0)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes any free port.

    Raises UnsafeConfiguration when the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only if the socket names its protocol; connections inherit it.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(socket.SOMAXCONN)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise UnsafeConfiguration(
                f"Port {port} is in use: choose another with --port, or --port 0 for a free one."
            ) from error
        raise UnsafeConfiguration(f"Cannot bind {host}:{port}: {error.strerror}.") from error
    return bound


def with_free_inference_port(settings: Settings) -> Settings:
    """Return the settings of an embedded service with a free inference port.

    In embedded mode no other process has to know the port. It is the port that was set, if that
    is free, or else any free one, so that two services that start at the same time do not choose
    the same. Settings that are not embedded, or that name an inference URL, are returned as is.
    """
    if not settings.embedded or settings.inference_url:
        return settings
    asked = settings.inference_port if "inference_port" in settings.model_fields_set else 0
    for port in (asked, 0):
        try:
            with listen(settings.inference_host, port) as free:
                return settings.model_copy(update={"inference_port": free.getsockname()[1]})
        except UnsafeConfiguration:
            continue
    return settings


# Announce the address once the service is ready.


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
            gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
            services: Services = self._app.state.services
            self._announcing = asyncio.create_task(self._announce(services))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop announcing and shut down."""
        if self._announcing is not None:
            self._announcing.cancel()
        await super().shutdown(sockets=sockets)

    async def _announce(self, services: Services) -> None:
        """Print the address once the service is ready, and then what updates train on.

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
        while platform.settings.embedded:  # until the worker has loaded torch
            with suppress(NotReady):
                if found := (await run_in_threadpool(check_readiness, platform)).trains_on:
                    _print_line(f"Updates train on {found[0]}.")
                    return
            await asyncio.sleep(POLL_EVERY_S)


def _greeting(address: str, services: Services) -> str:
    """Return where the service is, and how to sign in."""
    link = services.sign_in_link
    if link is None:
        return (
            f"Perennial is running at {address}; open it in a browser and sign in with an API key, "
            "or press Ctrl-C to stop it.\n"
            "If nobody has an admin key any more, set PERENNIAL_ADMIN_KEY to one that "
            "`perennial key` prints, and start again."
        )
    with services.platform.transactions(read_only=True) as work:
        newest = [work[Versions].newest(model.id) for model in work[Models].page(10, None)]
    first = all(version is None or version.is_root for version in newest)
    return (
        f"Perennial is running at {address}; press Ctrl-C to stop it.\n"
        "To sign in as admin, open this link. It works once, and for an hour; each start prints "
        f"another.\n{address}{SIGN_IN}?link={link.token}"
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


# uvicorn's HTTP protocol, with deadlines for slow clients, and kept connections after faults.


class WholeAnswers(Layer):
    """Logs the error of an app that has answered in full, and keeps the connection.

    Starlette answers an unexpected error with 500 and raises it again. uvicorn would log it and
    close the connection, which the answer does not say: the client's next request would be sent
    into a closed connection and fail. An error that breaks an answer off is left to uvicorn, so
    that the client sees that a part is missing.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        whole = False

        async def noted_send(message: Message) -> None:
            nonlocal whole
            await send(message)
            if message["type"] == "http.response.body":
                whole = not message.get("more_body", False)

        try:
            await self.app(scope, receive, noted_send)
        except Exception:
            if not whole:
                raise
            log.exception("request failed unexpectedly")


class Connection(H11Protocol):
    """uvicorn's protocol with a deadline for the client and problem documents as refusals.

    The connection closes unless these arrive within `receive_seconds`: the head of the first
    request, the rest of a head that has begun, and the rest of a body that was answered without
    being read. A body that is being read is timed by `BodyArrival` instead, because only the
    reader knows when it waits for the client and for nothing else.
    """

    def __init__(self, *args: Any, receive_seconds: float, **named: Any) -> None:
        super().__init__(*args, **named)
        self._receive_seconds = receive_seconds
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Set the deadline for the first head."""
        super().connection_made(transport)
        self._update_deadline()

    def data_received(self, data: bytes) -> None:
        """Receive bytes from the client.

        Bytes of an incomplete head or of an unread body do not postpone the deadline.
        """
        super().data_received(data)
        self._update_deadline()

    def on_response_complete(self) -> None:
        """Set the deadline for the rest of this request, if it was not read to its end."""
        super().on_response_complete()
        self._update_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the deadline."""
        super().connection_lost(exc)
        self._cancel_deadline()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's text
        """Refuse bytes that are not HTTP, unless a response has begun, and close."""
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            self._send_problem(Malformed("The request is not valid HTTP/1.1."))
        self.transport.close()

    def _is_client_due(self) -> bool:
        match self.conn.their_state:
            case h11.IDLE:  # uvicorn itself limits the wait for the next request's first byte
                return self.timeout_keep_alive_task is None
            case h11.SEND_BODY:
                return self.conn.our_state is h11.DONE
        return False

    def _update_deadline(self) -> None:
        if not self._is_client_due():
            self._cancel_deadline()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self._receive_seconds, self._time_out)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _time_out(self) -> None:
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._send_problem(RequestTimeout("The head of the request did not arrive in time."))
        self.transport.close()

    def _send_problem(self, error: PerennialError) -> None:
        state = {"request_id": fresh_request_id()}
        response = problem_of(
            HTTPConnection({"type": "http", "headers": [], "state": state}), error
        )
        response.headers.update(
            {**SECURITY_HEADERS, "X-Request-Id": state["request_id"], "Connection": "close"}
        )
        reason = STATUS_PHRASES[response.status_code]
        for event in (
            h11.Response(
                status_code=response.status_code, headers=response.raw_headers, reason=reason
            ),
            h11.Data(data=bytes(response.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
