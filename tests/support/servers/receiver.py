"""A real receiver of webhooks: an HTTP server in a thread, which answers as it is told."""

import json
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks import Webhook

from tests.support.servers.answering import QuietHandler, answering


@dataclass(frozen=True, kw_only=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes
    port: int  # of the sender

    @property
    def event(self) -> str:
        return self.headers["webhook-id"]

    @property
    def payload(self) -> Any:
        return json.loads(self.body)

    def verify(self, secret: str) -> None:
        """Raise unless the secret has signed it."""
        Webhook(secret).verify(self.body, self.headers)


@dataclass
class Receiver:
    """The requests that a receiver got, and the answers that it gives."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)  # of the next answers; then 204
    pause_s: float = 0.0  # before each answer
    location: str = ""  # of redirects
    received: list[Received] = field(default_factory=list)

    @property
    def events(self) -> list[str]:
        return [one.event for one in self.received]


@contextmanager
def receiving(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Receive at a free port of this machine."""
    receiver = Receiver()

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.received.append(
                Received(path=self.path, headers=headers, body=body, port=self.client_address[1])
            )
            time.sleep(receiver.pause_s)
            try:
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 204)
                if receiver.location:
                    self.send_header("Location", receiver.location)
                self.end_headers()
            except OSError:
                pass  # the sender waits no longer

    with answering(Handler, tls) as url:
        receiver.url = f"{url}/told"
        yield receiver
