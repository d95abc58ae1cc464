"""The `JobNotifier` port over a send-only Celery client."""

import logging

from celery import Celery
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from core.adapters.broker.options import TASK, name_of, transport, transport_options
from core.domain.jobs.order import Queue
from core.domain.values import JobId
from core.settings import Settings

log = logging.getLogger(__name__)


class CeleryNotifier:
    """Sends a job's id; a worker that receives it looks into the database for work."""

    def __init__(self, settings: Settings) -> None:
        self._celery = Celery("perennial", broker=settings.broker, set_as_current=False)
        self._celery.conf.update(
            broker_transport=transport(settings),
            broker_transport_options=transport_options(settings),
            broker_connection_timeout=2.0,
            task_ignore_result=True,
            task_serializer="json",
        )

    def notify(self, job: JobId, queue: Queue) -> None:
        """Notify some worker of the queue. Never raises: the sweeper notifies again."""
        try:
            self._celery.send_task(
                TASK, args=[job], queue=name_of(queue), retry=False, ignore_result=True
            )
        except (KombuError, RedisError, OSError) as error:
            log.warning(
                "the broker does not respond (%s); the sweeper will send the notification", error
            )

    def close(self) -> None:
        """Close the connections to the broker."""
        self._celery.close()
