"""A real server in a thread of its own, and its end of a connection."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import httpx
import uvicorn

from tests.support.processes import wait_for


@contextmanager
def in_thread(server: uvicorn.Server, bound: socket.socket | None = None) -> Iterator[str]:
    """Run a server within the context and yield its URL.

    It listens on `bound`, or else where its configuration says.
    """
    thread = Thread(target=server.run, kwargs={"sockets": [bound] if bound else None})
    thread.start()
    try:
        wait_for(lambda: server.started or not thread.is_alive(), seconds=60)
        listener = bound or server.servers[0].sockets[0]
        host, port, *_ = listener.getsockname()
        yield f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join()


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
