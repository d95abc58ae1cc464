"""A store of one object that closes the connection in the middle of its first answer."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def early_end(data: bytes, *, announced: bool) -> Iterator[tuple[str, list[int]]]:
    """The store's URL, and from where on it is asked; `announced` answers say their length."""
    asked: list[int] = []

    class Store(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(start := int(self.headers.get("Range", "bytes=0-")[6:-1]))
            end = len(data) // 2 if len(asked) == 1 else len(data)
            self.send_response(206 if start else 200)
            if announced:
                self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            self.wfile.write(data[start:end])

        def log_message(self, *_: object) -> None:
            pass

    with (
        ThreadingHTTPServer(("127.0.0.1", 0), Store) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        pool.submit(server.serve_forever, 0.01)
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
