"""Bind a port and serve the application on it."""

import errno
import signal
import socket
import sys
from functools import partial
from types import FrameType

import uvicorn
from fastapi import FastAPI

from api.app import create_app
from api.server.announcing_server import AnnouncingServer
from api.server.http_protocol import Connection, WholeAnswers
from core.errors import UnsafeConfiguration
from core.settings import Settings

GRACE_S = 5  # for requests in flight; event streams are cut off after it


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or Ctrl-C and return the exit code.

    Raises UnsafeConfiguration, also for a port in use.
    """
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
        access_log=False,  # api/observability/telemetry.py logs requests
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
