"""Clients that keep their connections and send one request again and again.

They speak plain HTTP/1.1 on sockets, because an HTTP library takes longer than what is measured;
run them in a process of their own, so that their work does not count as the server's.
"""

import asyncio
import time
from dataclasses import dataclass

import httpx
import psutil


@dataclass(frozen=True, kw_only=True)
class Target:
    """A request, whole, and where to send it."""

    name: str
    host: str
    port: int
    pid: int  # of the process that answers
    message: bytes

    @classmethod
    def of(cls, name: str, pid: int, request: httpx.Request) -> "Target":
        """The target of a request that an HTTP library has put into words."""
        line = b"%s %s HTTP/1.1" % (request.method.encode(), request.url.raw_path)
        headers = [b"%s: %s" % header for header in request.headers.raw]
        message = b"\r\n".join([line, *headers, b"", request.read()])
        return cls(
            name=name, pid=pid, host=request.url.host, port=request.url.port or 80, message=message
        )


@dataclass(frozen=True, kw_only=True)
class Taken:
    """How long answers took, how long the clients asked, and what the server worked, in seconds."""

    answers: list[float]
    seconds: float
    cpu: float


class _Client(asyncio.Protocol):
    """One connection; asks again as soon as it is answered, until it is late."""

    def __init__(self, message: bytes, until: float) -> None:
        self.answers: list[float] = []
        self.ended = asyncio.get_running_loop().create_future()
        self._message = message
        self._until = until
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the first time."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        """Note an answer when it is whole."""
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or len(body) < _length(head):
            return
        self.answers.append(time.perf_counter() - self._asked)
        if not head.startswith(b"HTTP/1.1 200"):
            self.ended.set_exception(RuntimeError(self._received.decode(errors="replace")))
            self._transport.close()
        elif time.perf_counter() < self._until:
            self._ask()
        else:
            self.ended.set_result(None)
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """A connection that ends before its client does is a failure of the server."""
        if not self.ended.done():
            self.ended.set_exception(error or ConnectionError("the server closed a connection"))

    def _ask(self) -> None:
        self._received = b""
        self._asked = time.perf_counter()
        self._transport.write(self._message)


def _length(head: bytes) -> int:
    name = b"content-length:"
    return next(
        int(line[len(name) :]) for line in head.split(b"\r\n") if line[: len(name)].lower() == name
    )


def load(target: Target, clients: int, seconds: float) -> Taken:
    """Let so many clients ask for so long. Raises RuntimeError for an answer other than 200."""
    return asyncio.run(_load(target, clients, seconds))


def wait_until_answered(target: Target) -> None:
    """Return when a server that has just been started answers."""
    deadline = time.monotonic() + 60
    while True:
        try:
            load(target, 1, 0)
        except ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


async def _load(target: Target, clients: int, seconds: float) -> Taken:
    loop, server = asyncio.get_running_loop(), psutil.Process(target.pid)
    worked = _cpu(server)
    began = time.perf_counter()
    until = began + seconds
    asking = []
    for _ in range(clients):
        _, client = await loop.create_connection(
            lambda: _Client(target.message, until), target.host, target.port
        )
        asking.append(client)
    await asyncio.gather(*(client.ended for client in asking))
    return Taken(
        answers=[seconds for client in asking for seconds in client.answers],
        seconds=time.perf_counter() - began,
        cpu=_cpu(server) - worked,
    )


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
