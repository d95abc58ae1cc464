"""Requests of an open loop leave by the clock, whatever the server does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

from benchmarks.api.scene import Target
from benchmarks.serving.beside import send

PATIENCE_S = 20


class Server(ThreadingHTTPServer):
    """Answers once a number of requests has come; refuses some, and cuts other connections."""

    daemon_threads = True

    def __init__(self, *, before: int = 1, refused: int = 0, cut: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.all_came = threading.Barrier(before)
        self.refused, self.cut = refused, cut
        self.came = 0
        self.lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.came += 1
            number = self.server.came
        if number <= self.server.cut:
            self.close_connection = True
            return
        self.server.all_came.wait(PATIENCE_S)
        self.send_response(503 if number <= self.server.cut + self.server.refused else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *given: object) -> None:
        pass


@contextmanager
def running(server: Server) -> Iterator[Target]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        request = httpx.Request("GET", f"http://127.0.0.1:{server.server_port}/")
        yield Target.of("it", 0, request)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_later_requests_leave_while_earlier_ones_wait() -> None:
    server = Server(before=5)
    with running(server) as target:
        turn = send([target], 100, 0.05)
    assert (turn.sent, len(turn.waits), server.came) == (5, 5, 5)
    assert max(turn.waits) - min(turn.waits) > 3 / 100  # each counts from when it was due
    assert turn.seconds >= max(turn.waits)


def test_requests_that_fail_are_told_apart() -> None:
    with running(Server(refused=2, cut=1)) as target:
        turn = send([target], 50, 0.2)
    assert turn.failed == {"503": 2, "connection closed": 1}
    assert len(turn.waits) == 7


def test_a_server_that_is_not_there_fails_every_request() -> None:
    with running(Server()) as target:
        pass
    turn = send([target], 100, 0.03)
    assert turn.failed == {"ConnectionRefusedError": 3}
    assert turn.rate == 0
