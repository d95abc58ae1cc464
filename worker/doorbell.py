"""Ringing for a worker."""

import logging

from celery import Celery
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from core.adapters.broker.options import TASK, name_of
from core.domain.jobs.job import Queue
from core.domain.values import JobId

log = logging.getLogger(__name__)


class CeleryDoorbell:
    """The port `Doorbell` over a broker."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def ring(self, job: JobId, queue: Queue) -> None:
        """Tell some worker to look for work. Never raises: the sweeper rings again."""
        try:
            self._app.send_task(
                TASK, args=[job], queue=name_of(queue), retry=False, ignore_result=True
            )
        except (KombuError, RedisError, OSError) as fault:
            log.warning("the broker does not answer, %s waits for the next ring: %s", job, fault)
