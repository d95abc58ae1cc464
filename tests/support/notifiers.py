"""Notifiers without a broker."""

from core.jobs.orders import Queue
from core.values import JobId


class SilentNotifier:
    """A broker that loses every message; workers look for work by themselves."""

    def notify(self, job: JobId, queue: Queue) -> None:
        """Say nothing."""


class RecordingNotifier:
    """Keeps the jobs and queues that it was called with."""

    def __init__(self) -> None:
        self.notified: list[tuple[JobId, Queue]] = []

    def notify(self, job: JobId, queue: Queue) -> None:
        self.notified.append((job, queue))
