"""A TCP relay before a server, whose connections can be cut."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any

UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Relay(ThreadingTCPServer):
    """Passes bytes on in both directions, between a port of its own and a server."""

    def __init__(self, to: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.to = to
        self.ends: set[socket.socket] = set()
        self.is_cut = False
        self.refused = 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def cut(self) -> None:
        """Cut all connections, and answer those to come as a proxy does without its server."""
        self.is_cut = True
        for end in [*self.ends]:
            _shut(end)

    def mend(self) -> None:
        """Pass connections on again."""
        self.is_cut = False


class _Connection(BaseRequestHandler):
    server: Relay
    request: Any

    def handle(self) -> None:
        """Pass on what comes from either end, until one of them closes."""
        near: socket.socket = self.request
        if self.server.is_cut:
            near.recv(65_536)
            near.sendall(UNAVAILABLE)
            self.server.refused += 1
            return
        with socket.create_connection(self.server.to) as far:
            self.server.ends |= {near, far}
            back = Thread(target=_pass_on, args=(far, near))
            back.start()
            _pass_on(near, far)
            back.join()
            self.server.ends -= {near, far}


def _pass_on(start: socket.socket, end: socket.socket) -> None:
    with suppress(OSError):
        while data := start.recv(65_536):
            end.sendall(data)
    _shut(start)
    _shut(end)


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


@contextmanager
def relay_before(url: str) -> Iterator[Relay]:
    """Relay what is sent to a server within the context."""
    host, _, port = url.removeprefix("http://").partition(":")
    with Relay((host, int(port))) as relay:
        thread = Thread(target=relay.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield relay
        finally:
            relay.shutdown()
            relay.cut()
            thread.join()
