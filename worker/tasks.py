"""What the doorbell does."""

from collections.abc import Callable

from celery import Celery

from core.adapters.broker.options import TASK
from core.domain.jobs.job import Job
from worker.stopping import Stopping


def add_tasks(app: Celery, run_next_job: Callable[[], Job | None], stopping: Stopping) -> None:
    """Let `app` answer the doorbell by running jobs until none is left or it must stop."""

    @app.task(name=TASK)  # type: ignore[untyped-decorator]
    def perform(job_id: str) -> None:  # noqa: ARG001  (which job is next is the database's word)
        with stopping.busy():
            while not stopping() and run_next_job() is not None:
                pass
