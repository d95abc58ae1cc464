"""HTTP clients that keep their connections and send requests one after the other.

They write plain HTTP/1.1 to sockets, because an HTTP library takes longer than what is measured.
Run them in a separate process, so that their work does not count as the server's.
"""

import asyncio
import multiprocessing
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, cycle, islice

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

    answers: Mapping[str, Sequence[float]]  # latencies, by target
    errors: Sequence[str]  # each with its target
    seconds: float  # duration of the turn
    cpu: float  # CPU time of the server

    @property
    def latencies(self) -> list[float]:
        """The latencies of all answers."""
        return list(chain.from_iterable(self.answers.values()))


class _Client(asyncio.Protocol):
    """One connection, which sends the next request after each response until the time is up."""

    def __init__(self, targets: Iterator[Target], until: float) -> None:
        self.answers: list[tuple[str, float]] = []
        self.errors: list[str] = []
        self.ended = asyncio.get_running_loop().create_future()
        self._targets = targets
        self._until = until

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        """Record the latency of a complete response and send the next request."""
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or len(body) < content_length(head):
            return
        self.answers.append((self._sent.name, time.perf_counter() - self._sent_at))
        status = head[9:12].decode()
        if not status.startswith("2"):
            self.errors.append(f"{self._sent.name}: {status}")
        if time.perf_counter() < self._until:
            self._send()
        else:
            self.ended.set_result(None)
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """Note that the server closed the connection before the client finished."""
        if not self.ended.done():
            self.errors.append(f"{self._sent.name}: {error or 'connection closed'}")
            self.ended.set_result(None)

    def _send(self) -> None:
        self._received = b""
        self._sent = next(self._targets)
        self._sent_at = time.perf_counter()
        self._transport.write(self._sent.message)


def content_length(head: bytes) -> int:
    """Return the length of the body that the head of a response announces."""
    name = b"content-length:"
    return next(
        int(line[len(name) :]) for line in head.split(b"\r\n") if line[: len(name)].lower() == name
    )


def load_pool() -> ProcessPoolExecutor:
    """Return a process for `load`."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def load(targets: Sequence[Target], clients: int, seconds: float) -> Taken:
    """Run `clients` clients for `seconds`; each sends all targets, which one server has, in turn.

    Raises ConnectionError when the server does not accept a connection.
    """
    return asyncio.run(_load(targets, clients, seconds))


def wait_until_answered(target: Target) -> None:
    """Wait until a newly started server responds. Raises ConnectionError after 60 s."""
    deadline = time.monotonic() + 60
    while True:
        try:
            load([target], 1, 0)
        except ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


async def _load(targets: Sequence[Target], clients: int, seconds: float) -> Taken:
    loop, server = asyncio.get_running_loop(), psutil.Process(targets[0].pid)
    worked = _cpu(server)
    began = time.perf_counter()
    until = began + seconds
    running = []
    for number in range(clients):
        mine = islice(cycle(targets), number % len(targets), None)
        _, client = await loop.create_connection(
            partial(_Client, mine, until), targets[0].host, targets[0].port
        )
        running.append(client)
    await asyncio.gather(*(client.ended for client in running))
    answers: dict[str, list[float]] = {target.name: [] for target in targets}
    for name, latency in chain.from_iterable(client.answers for client in running):
        answers[name].append(latency)
    return Taken(
        answers=answers,
        errors=[error for client in running for error in client.errors],
        seconds=time.perf_counter() - began,
        cpu=_cpu(server) - worked,
    )


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
