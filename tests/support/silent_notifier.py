"""Doorbells without a broker."""

from core.domain.jobs.order import Queue
from core.domain.values import JobId


class Silence:
    """A broker that loses every message; workers look for work by themselves."""

    def notify(self, job: JobId, queue: Queue) -> None:
        """Say nothing."""


class Bell:
    """Remembers how it was rung."""

    def __init__(self) -> None:
        self.rung: list[tuple[JobId, Queue]] = []

    def notify(self, job: JobId, queue: Queue) -> None:
        """Note the job and the queue."""
        self.rung.append((job, queue))
