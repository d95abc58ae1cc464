"""A worker that hears rings, and who rings for it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

from core.adapters.broker.notifier import CeleryNotifier
from core.adapters.broker.options import TASK
from core.domain.jobs.order import Queue
from core.domain.values import JobId
from core.settings import Settings
from tests.support.processes import wait_for
from worker.app import make_app, make_worker

JOB = JobId("job_1")
WAKE_S = 40


@contextmanager
def listening(settings: Settings, work: Callable[[], object]) -> Iterator[list[JobId]]:
    """A worker in a thread of its own, which does `work` at each ring that it hears."""
    app, heard = make_app(settings), list[JobId]()

    @app.task(name=TASK, shared=False)
    def perform(job: JobId) -> None:
        heard.append(job)
        work()

    worker = make_worker(app, settings, owner="o")
    thread = Thread(target=worker.start)
    thread.start()
    try:
        yield heard
    finally:
        worker.stop()
        thread.join()


def hears_another(notifier: CeleryNotifier, heard: list[JobId]) -> None:
    """Ring now and then, as a sweeper does, until it is heard."""
    before = len(heard)

    def rung() -> bool:
        notifier.notify(JOB, Queue.GPU)
        return len(heard) > before

    wait_for(rung, seconds=WAKE_S, every=0.5)
