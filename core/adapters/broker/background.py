"""Ringing without waiting for the broker."""

import logging
from contextlib import suppress
from queue import Full
from queue import Queue as Line
from threading import Event, Thread

from core.domain.jobs.job import Queue
from core.domain.values import JobId
from core.ports import JobNotifier

MOST_WAITING = 256
CLOSE_WITHIN_S = 2.0

log = logging.getLogger(__name__)


class BackgroundNotifier:
    """Rings another doorbell from a thread of its own: who orders a job waits for no broker.

    When the broker is slow, rings beyond a few hundred are let go: the sweeper rings anyway.
    """

    def __init__(self, notifier: JobNotifier, *, most_waiting: int = MOST_WAITING) -> None:
        self._doorbell = notifier
        self._waiting: Line[tuple[JobId, Queue] | None] = Line(most_waiting)
        self._late = Event()
        self._thread = Thread(target=self._run, name="doorbell", daemon=True)
        self._thread.start()

    def notify(self, job: JobId, queue: Queue) -> None:
        """Have some worker told soon to look for work. Never raises and never waits."""
        try:
            self._waiting.put_nowait((job, queue))
        except Full:
            log.debug("too many rings wait for the broker; the sweeper will ring")

    def close(self) -> None:
        """Ring what waits, for two seconds at most."""
        with suppress(Full):  # or else the broker is stuck
            self._waiting.put(None, timeout=CLOSE_WITHIN_S)
            self._thread.join(CLOSE_WITHIN_S)
        self._late.set()

    def _run(self) -> None:
        while (notify := self._waiting.get()) is not None and not self._late.is_set():
            self._doorbell.notify(*notify)
