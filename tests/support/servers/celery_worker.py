"""A worker that receives messages, and a way to send it some."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

from core.jobs.broker import TASK, CeleryNotifier
from core.jobs.orders import Queue
from core.settings import Settings
from core.values import JobId
from tests.support.processes import wait_for
from worker.app import make_app, make_worker

JOB = JobId("job_1")

WAKE_S = 40


@contextmanager
def listening(settings: Settings, work: Callable[[], object]) -> Iterator[list[JobId]]:
    """A worker in a thread of its own, which does `work` at each message."""
    app, messages = make_app(settings), list[JobId]()

    @app.task(name=TASK, shared=False)
    def perform(job: JobId) -> None:
        messages.append(job)
        work()

    worker = make_worker(app, settings, owner="o")
    thread = Thread(target=worker.start)
    thread.start()
    try:
        yield messages
    finally:
        worker.stop()
        thread.join()


def gets_another(notifier: CeleryNotifier, messages: list[JobId]) -> None:
    """Notify now and then, as a supervisor does, until a message is received."""
    before = len(messages)

    def received() -> bool:
        notifier.notify(JOB, Queue.GPU)
        return len(messages) > before

    wait_for(received, seconds=WAKE_S, every=0.5)
