"""A doorbell that nobody hears."""

from core.domain.jobs.job import Queue
from core.domain.values import JobId


class Silence:
    """A broker that loses every message; workers look for work by themselves."""

    def notify(self, job: JobId, queue: Queue) -> None:
        """Say nothing."""
