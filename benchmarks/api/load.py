"""HTTP clients that keep their connections and send one request repeatedly.

They write plain HTTP/1.1 to sockets, because an HTTP library takes longer than what is measured.
Run them in a separate process, so that their work does not count as the server's.
"""

import asyncio
import time
from dataclasses import dataclass

import httpx
import psutil


@dataclass(frozen=True, kw_only=True)
class Target:
    """A complete request and the server to send it to."""

    name: str
    host: str
    port: int
    pid: int  # of the process that answers
    message: bytes

    @classmethod
    def of(cls, name: str, pid: int, request: httpx.Request) -> "Target":
        """Serialise a request of httpx."""
        line = b"%s %s HTTP/1.1" % (request.method.encode(), request.url.raw_path)
        headers = [b"%s: %s" % header for header in request.headers.raw]
        message = b"\r\n".join([line, *headers, b"", request.read()])
        return cls(
            name=name, pid=pid, host=request.url.host, port=request.url.port or 80, message=message
        )


@dataclass(frozen=True, kw_only=True)
class Taken:
    """The measurements of one turn, all in seconds."""

    answers: list[float]  # latencies
    seconds: float  # duration of the turn
    cpu: float  # CPU time of the server


class _Client(asyncio.Protocol):
    """One connection, which repeats its request after each response until the time is up."""

    def __init__(self, message: bytes, until: float) -> None:
        self.answers: list[float] = []
        self.ended = asyncio.get_running_loop().create_future()
        self._message = message
        self._until = until
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        """Record the latency of a complete response and send the next request."""
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or len(body) < _length(head):
            return
        self.answers.append(time.perf_counter() - self._sent_at)
        if not head.startswith(b"HTTP/1.1 200"):
            self.ended.set_exception(RuntimeError(self._received.decode(errors="replace")))
            self._transport.close()
        elif time.perf_counter() < self._until:
            self._send()
        else:
            self.ended.set_result(None)
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """Fail if the server closed the connection before the client finished."""
        if not self.ended.done():
            self.ended.set_exception(error or ConnectionError("the server closed a connection"))

    def _send(self) -> None:
        self._received = b""
        self._sent_at = time.perf_counter()
        self._transport.write(self._message)


def _length(head: bytes) -> int:
    name = b"content-length:"
    return next(
        int(line[len(name) :]) for line in head.split(b"\r\n") if line[: len(name)].lower() == name
    )


def load(target: Target, clients: int, seconds: float) -> Taken:
    """Run `clients` clients for `seconds`. Raises RuntimeError for a response other than 200."""
    return asyncio.run(_load(target, clients, seconds))


def wait_until_answered(target: Target) -> None:
    """Wait until a newly started server responds. Raises ConnectionError after 60 s."""
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
    running = []
    for _ in range(clients):
        _, client = await loop.create_connection(
            lambda: _Client(target.message, until), target.host, target.port
        )
        running.append(client)
    await asyncio.gather(*(client.ended for client in running))
    return Taken(
        answers=[seconds for client in running for seconds in client.answers],
        seconds=time.perf_counter() - began,
        cpu=_cpu(server) - worked,
    )


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
