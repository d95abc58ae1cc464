"""Ringing for a worker."""

import logging

from celery import Celery
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from core.broker import QUEUE, TASK
from core.domain.values import JobId

log = logging.getLogger(__name__)


class CeleryDoorbell:
    """The port `Doorbell` over a broker."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def ring(self, job: JobId) -> None:
        """Tell some worker to look for work. Never raises: the sweeper rings again."""
        try:
            self._app.send_task(TASK, args=[job], queue=QUEUE, retry=False, ignore_result=True)
        except (KombuError, RedisError, OSError) as fault:
            log.warning("the broker does not answer, %s waits for the next ring: %s", job, fault)
