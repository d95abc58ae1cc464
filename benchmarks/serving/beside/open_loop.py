"""An open loop: requests leave by the clock, whether or not earlier ones have been answered.

A wait counts from the time at which its request was due, so a request that leaves late, or that
stands behind others, waits all the longer.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median, quantiles

from benchmarks.api.load import Target, content_length

PATIENCE_S = 60.0  # after the last request was due


@dataclass(kw_only=True)
class Turn:
    """The waits and failures of the requests of one turn."""

    sent: int
    waits: list[float] = field(default_factory=list)  # seconds, of the requests that succeeded
    failed: Counter[str] = field(default_factory=Counter)  # by status, or by what else happened
    seconds: float = 0.0  # from the first request to the last success

    @property
    def rate(self) -> float:
        """Successes a second."""
        return len(self.waits) / self.seconds if self.waits else 0.0

    @property
    def p50(self) -> float:
        """The median wait."""
        return median(self.waits) if self.waits else float("nan")

    @property
    def p99(self) -> float:
        """The wait that one of a hundred exceeds."""
        if len(self.waits) < 2:
            return self.p50
        return min(quantiles(self.waits, n=100)[98], max(self.waits))


def send(targets: Sequence[Target], rate: float, seconds: float) -> Turn:
    """Send `rate` requests a second, the targets in turn; call this in another process."""
    return asyncio.run(_Loop(targets, rate, seconds).run())


class _Loop:
    """The clock, and the connections, of which each has at most one request under way."""

    def __init__(self, targets: Sequence[Target], rate: float, seconds: float) -> None:
        self._targets = targets
        self._rate = rate
        self._turn = Turn(sent=max(1, round(rate * seconds)))
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._remaining = self._turn.sent
        self._ended = asyncio.Event()

    async def run(self) -> Turn:
        loop = asyncio.get_running_loop()
        self._began = time.perf_counter()
        sending = set()
        for number in range(self._turn.sent):
            due = self._began + number / self._rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            target = self._targets[number % len(self._targets)]
            if self._idle:
                self._idle.pop().send(target, due)
            else:
                task = loop.create_task(self._connect(target, due))
                sending.add(task)
                task.add_done_callback(sending.discard)
        try:
            await asyncio.wait_for(self._ended.wait(), PATIENCE_S)
        except TimeoutError:
            self._turn.failed["not answered"] = self._remaining
        for connection in self._open:
            connection.close()
        return self._turn

    async def _connect(self, target: Target, due: float) -> None:
        loop = asyncio.get_running_loop()
        try:
            made = partial(_Connection, self)
            _, connection = await loop.create_connection(made, target.host, target.port)
        except OSError as error:
            self.failed(type(error).__name__)
            return
        self._open.add(connection)
        connection.send(target, due)

    def answered(self, connection: "_Connection", status: str, due: float) -> None:
        now = time.perf_counter()
        if status.startswith("2"):
            self._turn.waits.append(now - due)
            self._turn.seconds = now - self._began
            self._count()
        else:
            self.failed(status)
        self._idle.append(connection)

    def lost(self, connection: "_Connection", *, asked: bool) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if asked:
            self.failed("connection closed")

    def failed(self, reason: str) -> None:
        self._turn.failed[reason] += 1
        self._count()

    def _count(self) -> None:
        self._remaining -= 1
        if not self._remaining:
            self._ended.set()


class _Connection(asyncio.Protocol):
    def __init__(self, owner: _Loop) -> None:
        self._owner = owner
        self._due: float | None = None  # None while nothing is asked

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def send(self, target: Target, due: float) -> None:
        self._received = b""
        self._due = due
        self._transport.write(target.message)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or len(body) < content_length(head) or self._due is None:
            return
        due, self._due = self._due, None
        self._owner.answered(self, head[9:12].decode(), due)

    def connection_lost(self, error: Exception | None) -> None:
        asked, self._due = self._due is not None, None
        self._owner.lost(self, asked=asked)

    def close(self) -> None:
        self._due = None
        self._transport.close()
