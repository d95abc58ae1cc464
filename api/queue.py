"""The doorbell: a send-only Celery client."""

import logging

from celery import Celery
from kombu.exceptions import OperationalError

from core.domain.values import JobId
from core.settings import Settings

TASK = "perennial.perform"
QUEUE = "perennial"

log = logging.getLogger(__name__)


class CeleryDoorbell:
    """Rings by sending a job's id; whoever hears it looks into the database."""

    def __init__(self, settings: Settings) -> None:
        self._celery = Celery("perennial", broker=settings.broker, set_as_current=False)
        self._celery.conf.update(
            broker_transport_options=_transport(settings),
            broker_connection_timeout=2.0,
            task_ignore_result=True,
            task_serializer="json",
        )

    def ring(self, job: JobId) -> None:
        """Tell some worker to look for work. Never raises: the sweeper rings again."""
        try:
            self._celery.send_task(TASK, args=[job], queue=QUEUE, retry=False, ignore_result=True)
        except (OperationalError, OSError) as error:
            log.warning("the broker does not answer (%s); the sweeper will ring", error)

    def close(self) -> None:
        """Close the connections to the broker."""
        self._celery.close()


def _transport(settings: Settings) -> dict[str, object]:
    if not settings.broker.startswith("filesystem://"):
        # Tried twice at once: a caller who waits for its 202 does not wait for a dead broker.
        return {
            "socket_timeout": 2.0,
            "socket_connect_timeout": 2.0,
            "max_retries": 1,
            "interval_start": 0.05,
        }
    folder = settings.home.absolute() / "broker"
    folder.mkdir(parents=True, exist_ok=True)
    return {
        "data_folder_in": str(folder),
        "data_folder_out": str(folder),
        "control_folder": str(folder / "control"),
    }
