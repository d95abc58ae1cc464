"""Kombu's filesystem transport, made to survive a full disk or a killed sender."""

# mypy: disallow-untyped-calls=false
import logging
from typing import Any

from kombu.transport import filesystem
from kombu.transport.virtual import BrokerState

log = logging.getLogger(__name__)


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
