"""A notifier that never waits for the broker."""

import logging
from contextlib import suppress
from queue import Full
from queue import Queue as ThreadQueue
from threading import Event, Thread

from core.domain.jobs.order import Queue
from core.domain.values import JobId
from core.ports import JobNotifier

MOST_WAITING = 256
CLOSE_WITHIN_S = 2.0

log = logging.getLogger(__name__)


class BackgroundNotifier:
    """Sends another notifier's notifications from its own thread, so that callers never wait.

    While the broker is slow, notifications beyond a few hundred are dropped; the sweeper sends
    them again.
    """

    def __init__(self, notifier: JobNotifier, *, most_waiting: int = MOST_WAITING) -> None:
        self._notifier = notifier
        self._waiting: ThreadQueue[tuple[JobId, Queue] | None] = ThreadQueue(most_waiting)
        self._closed = Event()
        self._thread = Thread(target=self._run, name="notifier", daemon=True)
        self._thread.start()

    def notify(self, job: JobId, queue: Queue) -> None:
        """Queue a notification for some worker. Never raises and never waits."""
        try:
            self._waiting.put_nowait((job, queue))
        except Full:
            log.debug("too many notifications wait for the broker; the sweeper will resend this")

    def close(self) -> None:
        """Send the waiting notifications, for a few seconds at most."""
        with suppress(Full):  # full only if the broker is stuck
            self._waiting.put(None, timeout=CLOSE_WITHIN_S)
            self._thread.join(CLOSE_WITHIN_S)
        self._closed.set()

    def _run(self) -> None:
        while (arguments := self._waiting.get()) is not None and not self._closed.is_set():
            try:
                self._notifier.notify(*arguments)
            except Exception:  # nothing may end this thread but `close`
                log.exception("cannot send a notification; the sweeper will send it again")
