"""Bind a port and serve on it."""

import errno
import signal
import socket
import sys
from functools import partial
from types import FrameType

import uvicorn
from fastapi import FastAPI

from api.app import create_app
from api.server.announcing import AnnouncingServer
from api.server.connection import Connection
from core.errors import UnsafeConfiguration
from core.settings import Settings

GRACE_S = 5  # for requests in flight; event streams end then


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or Ctrl-C. Raises UnsafeConfiguration, also for a port in use."""
    # The server puts the handler back and raises the signal anew once it has ended in order.
    signal.signal(signal.SIGTERM, _end)
    app_settings = with_free_inference_port(settings)
    app = create_app(app_settings)
    with listen(settings.host, settings.port) as bound:
        port = bound.getsockname()[1]
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        address = f"http://{host}:{port}"
        server = AnnouncingServer(app, address=address, config=config_of(app, settings))
        try:
            server.run(sockets=[bound])
        except KeyboardInterrupt:
            return 130
    return 0 if server.started else 1


def config_of(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """Return how the service's server serves an app."""
    return uvicorn.Config(
        app,
        http=partial(Connection, receive_seconds=settings.receive_seconds),  # type: ignore[arg-type]
        log_config=None,  # ours
        access_log=False,  # api/observability/telemetry.py tells of requests
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )


def _end(_number: int, _frame: FrameType | None) -> None:
    """Who asked the service to end and was obeyed is told so by exit code 0."""
    sys.exit(0)


def listen(host: str, port: int) -> socket.socket:
    """Return a bound socket; port 0 takes any free one. Raises UnsafeConfiguration if in use."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Connections inherit the protocol; only where it is named does asyncio set TCP_NODELAY.
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
    """Embedded, nobody else needs to know the inference port.

    Unless one is asked for it is any free one, so that two services that start at the same
    moment do not choose the same; a busy one is passed over.
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
