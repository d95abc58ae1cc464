"""A store of one object that closes the connection in the middle of its first answer."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.servers.answering import QuietHandler, answering


@contextmanager
def early_end(data: bytes, *, announced: bool) -> Iterator[tuple[str, list[int]]]:
    """The store's URL, and from where on it is asked; `announced` answers say their length."""
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
