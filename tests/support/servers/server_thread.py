"""A real server in a thread of its own."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

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
