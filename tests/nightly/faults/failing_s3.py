"""moto's S3 server, whose answers with objects fail when it is told to.

`POST /fault?kind=cut&after=7&times=1` lets seven objects be read and breaks off within the next.
A `kind` is `cut`, `error` (the answer is 500) or `kill` (the server dies within an object).
"""

import os
import signal
import socket
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from moto import server

ERROR = b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>told to</Message></Error>"


@dataclass
class Fault:
    """A fault of the next objects that are read."""

    kind: str
    after: int  # objects that are answered before
    times: int

    def strikes(self) -> bool:
        """Count the next object; return whether it fails."""
        self.after -= 1
        if self.after >= 0 or self.times == 0:
            return False
        self.times -= 1
        return True


class FailingObjects:
    """The application around moto's."""

    def __init__(self, *arguments: Any) -> None:
        self._moto = _MOTO(*arguments)
        self._lock = threading.Lock()
        self._fault = Fault(kind="none", after=0, times=0)

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"].strip("/")
        if path == "fault":
            told = dict(parse_qsl(environ["QUERY_STRING"]))
            after, times = int(told["after"]), int(told["times"])
            self._fault = Fault(kind=told["kind"], after=after, times=times)
            start_response("204 No Content", [])
            return []
        if environ["REQUEST_METHOD"] == "GET" and "/" in path:
            with self._lock:
                struck = self._fault.strikes()
            if struck and self._fault.kind == "error":
                start_response("500 Internal Server Error", [("Content-Type", "text/xml")])
                return [ERROR]
            if struck:
                whole = b"".join(self._moto(environ, start_response))
                return self._half(whole, environ["werkzeug.socket"])
        answer: Iterable[bytes] = self._moto(environ, start_response)
        return answer

    def _half(self, whole: bytes, connection: socket.socket) -> Iterator[bytes]:
        yield whole[: len(whole) // 2]
        if self._fault.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        connection.shutdown(socket.SHUT_RDWR)


_MOTO = server.DomainDispatcherApplication

if __name__ == "__main__":
    server.DomainDispatcherApplication = FailingObjects  # type: ignore[misc, assignment]
    server.main()
