"""The Celery app: a doorbell between processes, never the keeper of a job."""

from celery import Celery

from core.broker import transport_options
from core.settings import Settings


def make_app(settings: Settings) -> Celery:
    """An app on the broker of these settings; it can send at once, and work once tasks are added.

    Messages are acknowledged when they arrive and no result is kept: what became of a job
    stands in the database.
    """
    app = Celery("perennial", broker=settings.broker, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        broker_connection_max_retries=None,  # for ever: a broker that is away comes back
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=4.0,
        broker_transport_options=transport_options(settings),
        task_acks_late=False,
        task_ignore_result=True,
        worker_concurrency=1,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_pool="solo",
        worker_prefetch_multiplier=1,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
    )
    return app
