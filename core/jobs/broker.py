"""Notify workers of jobs that wait, through Celery."""

import logging
import socket
from contextlib import suppress
from queue import Full
from queue import Queue as ThreadQueue
from threading import Event, Thread
from typing import Any

from celery import Celery
from kombu.exceptions import KombuError
from kombu.transport import filesystem
from kombu.transport.virtual import BrokerState
from redis.exceptions import RedisError

from core.jobs.orders import Queue
from core.jobs.rules import JobNotifier
from core.settings import Settings
from core.values import JobId

# mypy: disallow-untyped-calls=false

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

    def forget(self, queue: Queue) -> None:
        """Delete the notifications of a queue to which no worker listens. Never raises."""
        try:
            with self._celery.connection_for_write() as connection:
                connection.default_channel.queue_purge(name_of(queue))
        except (KombuError, RedisError, OSError) as error:
            log.warning("the broker does not respond: %s", error)

    def close(self) -> None:
        """Close the connections to the broker."""
        self._celery.close()


# A notifier that never waits for the broker.

MOST_WAITING = 256
CLOSE_WITHIN_S = 2.0


class BackgroundNotifier:
    """Sends another notifier's notifications from its own thread, so that callers never wait.

    While the broker is slow, notifications beyond a few hundred are dropped; the sweeper sends
    them again.
    """

    def __init__(self, notifier: JobNotifier, *, most_waiting: int = MOST_WAITING) -> None:
        self._notifier = notifier
        self._waiting: ThreadQueue[tuple[JobId, Queue] | None] = ThreadQueue(most_waiting)
        self._closed = Event()
        self._thread = Thread(target=self._run, name="notifier", daemon=True)
        self._thread.start()

    def notify(self, job: JobId, queue: Queue) -> None:
        """Queue a notification for some worker. Never raises and never waits."""
        try:
            self._waiting.put_nowait((job, queue))
        except Full:
            log.debug("too many notifications wait for the broker; the sweeper will resend this")

    def close(self) -> None:
        """Send the waiting notifications, for a few seconds at most."""
        with suppress(Full):  # full only if the broker is stuck
            self._waiting.put(None, timeout=CLOSE_WITHIN_S)
            self._thread.join(CLOSE_WITHIN_S)
        self._closed.set()

    def _run(self) -> None:
        while (arguments := self._waiting.get()) is not None and not self._closed.is_set():
            try:
                self._notifier.notify(*arguments)
            except Exception:  # nothing may end this thread but `close`
                log.exception("cannot send a notification; the sweeper will send it again")


# Broker options shared by notifier and worker, as plain values without a broker client.

TASK = "perennial.perform"


def name_of(queue: Queue) -> str:
    """Return the broker's name of a queue."""
    return f"perennial.{queue.value}"


def transport(settings: Settings) -> str | None:
    """Return the path of a transport for kombu, or None for its own choice by the URL's scheme."""
    return "core.jobs.broker:Transport" if _is_folder(settings) else None


def transport_options(settings: Settings) -> dict[str, Any]:
    """Return kombu's transport options, which limit every wait; create a local broker's folder."""
    if _is_folder(settings):
        folder = settings.home.absolute() / "broker"
        folder.mkdir(parents=True, exist_ok=True)
        return {
            # The same folder in both directions: workers read what senders write.
            "data_folder_in": str(folder),
            "data_folder_out": str(folder),
            "control_folder": str(folder / "control"),
            "polling_interval": 0.2,
        }
    return {
        "socket_connect_timeout": 2.0,
        "socket_timeout": 3.0,  # above the 1 s for which the transport blocks
        "socket_keepalive": True,
        "socket_keepalive_options": _keepalive(),
        # Off: a failed check reconnects silently, after which a worker that was busy when its
        # broker died would keep listening on the dead connection.
        "health_check_interval": 0,
        "retry_on_timeout": True,
        "visibility_timeout": 3600,  # without effect: messages are acknowledged on arrival
        # A sender tries twice and gives up: the sweeper notifies again.
        "max_retries": 1,
        "interval_start": 0.05,
        "connect_retries_timeout": 2.0,
    }


def _is_folder(settings: Settings) -> bool:
    return settings.broker.startswith("filesystem:")


def _keepalive() -> dict[int, int]:
    """Return socket options that detect a vanished peer within half a minute, where supported."""
    wanted = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 30_000}
    return {getattr(socket, name): value for name, value in wanted.items() if hasattr(socket, name)}


# Kombu's filesystem transport, made to survive a full disk or a killed sender.


class Channel(filesystem.Channel):
    """Drops partially written messages, on which the base class would crash the worker.

    No work is lost: the sweeper notifies again of the job.
    """

    def _get(self, queue: str, timeout: float | None = None) -> Any:  # noqa: ARG002
        while True:  # each attempt removes one message from the folder
            try:
                return super()._get(queue)
            except ValueError:
                log.warning("dropped a partially written message in %s", queue)

    def get_table(self, exchange: str) -> Any:
        """Return the queues of an exchange, none if the table was written only partially."""
        try:
            return super().get_table(exchange)
        except ValueError:
            return []

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        try:
            super()._queue_bind(exchange, routing_key, pattern, queue)
        except ValueError:
            self._exchange_file(exchange).unlink(missing_ok=True)
            super()._queue_bind(exchange, routing_key, pattern, queue)


class Transport(filesystem.Transport):
    """The transport that kombu loads; each connection declares missing exchanges again."""

    Channel = Channel

    def __init__(self, client: Any, **options: Any) -> None:
        super().__init__(client, **options)
        self.state = BrokerState()
