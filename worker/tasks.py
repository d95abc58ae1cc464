"""The Celery task that runs jobs when notified."""

from collections.abc import Callable

from celery import Celery

from core.adapters.broker.options import TASK
from core.domain.jobs.job import Job
from worker.stopping import Stopping


def add_tasks(app: Celery, run_next_job: Callable[[], Job | None], stopping: Stopping) -> None:
    """Register the task that runs jobs until none is left or the process must stop."""

    @app.task(name=TASK)  # type: ignore[untyped-decorator]
    def perform(job_id: str) -> None:  # noqa: ARG001  (the database decides which job is next)
        with stopping.busy():
            while not stopping() and run_next_job() is not None:
                pass
