"""The Celery app: it carries notifications between processes, while the database owns the jobs."""

from collections.abc import Callable

from celery import Celery
from celery.worker import WorkController
from kombu.entity import Exchange
from kombu.entity import Queue as BrokerQueue

from core.jobs.broker import TASK, name_of, transport, transport_options
from core.jobs.orders import Queue
from core.jobs.rules import Job
from core.settings import Settings
from worker.stopping import Stopping


def make_app(settings: Settings) -> Celery:
    """Return an app on the settings' broker; it can send at once, and work once it has tasks.

    A message is acknowledged on arrival and no result is kept: a job's outcome is in the database.
    """
    app = Celery("perennial", broker=settings.broker, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        broker_connection_max_retries=None,  # no limit: the broker may come back at any time
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=4.0,
        broker_transport=transport(settings),
        broker_transport_options=transport_options(settings),
        task_acks_late=False,
        task_ignore_result=True,
        task_queues=[_queue(name_of(queue)) for queue in Queue],
        worker_concurrency=1,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_pool="solo",
        worker_prefetch_multiplier=1,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
    )
    return app


def make_worker(app: Celery, settings: Settings, *, owner: str) -> WorkController:
    """Return a worker for the settings' queues; it runs in the thread that starts it."""
    return app.Worker(
        hostname=f"perennial@{owner}",
        queues=[name_of(Queue(queue)) for queue in settings.queues],
        quiet=True,
        # The event loop swallows some errors of a broker that dies, and receives nothing from then
        # on. The plain loop handles them.
        use_eventloop=False,
        without_gossip=True,
        without_heartbeat=True,
        without_mingle=True,
    )


def _queue(name: str) -> BrokerQueue:
    """Return a queue as Celery declares it, but without acknowledgements.

    Celery swallows the error of an acknowledgement that fails; the message then stays
    unacknowledged, and no other is requested.
    """
    exchange = Exchange(name)  # type: ignore[no-untyped-call]
    return BrokerQueue(name, exchange, routing_key=name, no_ack=True)  # type: ignore[no-untyped-call]


def add_tasks(app: Celery, run_next_job: Callable[[], Job | None], stopping: Stopping) -> None:
    """Register the task that runs jobs until none is left or the process must stop."""

    @app.task(name=TASK)  # type: ignore[untyped-decorator]
    def perform(job_id: str) -> None:  # noqa: ARG001  (the database decides which job is next)
        with stopping.busy():
            while not stopping() and run_next_job() is not None:
                pass
