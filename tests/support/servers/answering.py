"""HTTP servers in threads."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import uvicorn

from tests.support.processes import wait_for


class QuietHandler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


class QuietServer(ThreadingHTTPServer):
    """Waits for no client that is still there, and prints no traceback."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def answering(
    handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None = None, port: int = 0
) -> Iterator[str]:
    """Have a handler answer at a port of this machine, 0: a free one; the URL of the server."""
    with QuietServer(("127.0.0.1", port), handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def early_end(data: bytes, *, announced: bool) -> Iterator[tuple[str, list[int]]]:
    """A store of one object that closes the connection in the middle of its first answer.

    Its URL, and from where on it is asked; `announced` answers say their length.
    """
    asked: list[int] = []

    class Store(QuietHandler):
        def do_GET(self) -> None:
            asked.append(start := int(self.headers.get("Range", "bytes=0-")[6:-1]))
            end = len(data) // 2 if len(asked) == 1 else len(data)
            self.send_response(206 if start else 200)
            if announced:
                self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            self.wfile.write(data[start:end])

    with answering(Store) as url:
        yield url, asked


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
