"""The Celery app: a doorbell between processes, never the keeper of a job."""

from typing import Any

from celery import Celery

from core.settings import Settings

QUEUE = "perennial"
TASK = "perennial.perform"


def make_app(settings: Settings) -> Celery:
    """An app on the broker of these settings; it can send at once, and work once tasks are added.

    Messages are acknowledged when they arrive and no result is kept: what became of a job
    stands in the database.
    """
    app = Celery("perennial", broker=settings.broker, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=4.0,
        broker_transport_options=_transport_options(settings),
        task_acks_late=False,
        task_default_queue=QUEUE,
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


def _transport_options(settings: Settings) -> dict[str, Any]:
    if settings.broker.startswith("filesystem:"):
        folder = settings.home.absolute() / "broker"
        folder.mkdir(parents=True, exist_ok=True)
        return {
            # One folder both ways: what a sender puts out is what a worker takes in.
            "data_folder_in": str(folder),
            "data_folder_out": str(folder),
            "control_folder": str(folder / "control"),
            "polling_interval": 0.2,
        }
    return {
        "socket_connect_timeout": 4.0,
        "socket_timeout": 8.0,  # above the second that the transport blocks waiting
        "socket_keepalive": True,
        "health_check_interval": 10,
        "retry_on_timeout": True,
        "visibility_timeout": 3600,
    }
