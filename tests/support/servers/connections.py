"""The connections that a real server has accepted."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import uvicorn

from tests.support.servers.server_thread import in_thread


@contextmanager
def accepted(server: uvicorn.Server, bound: socket.socket | None = None) -> Iterator[socket.socket]:
    """The server's end of a kept-alive connection over which it has answered one request.

    The server listens on `bound`, or else where its configuration says.
    """
    with in_thread(server, bound) as url, httpx.Client(trust_env=False) as client:
        assert client.get(f"{url}/healthz").status_code == 200
        (connection,) = server.server_state.connections
        yield connection.transport.get_extra_info("socket")


def waits_for_acknowledgement(connection: socket.socket) -> bool:
    """Whether small writes are held back until the client acknowledges those before (Nagle)."""
    return not connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
