"""Kombu's broker in a folder, made to outlive a disk that was full or a sender that was killed."""

# mypy: disallow-untyped-calls=false
import logging
from typing import Any

from kombu.transport import filesystem
from kombu.transport.virtual import BrokerState

log = logging.getLogger(__name__)


class Channel(filesystem.Channel):
    """Drops what was written in part, where its base class would end the worker that reads it.

    A message names no work: a job whose ring is dropped is rung for again by the sweeper.
    """

    def _get(self, queue: str, timeout: float | None = None) -> Any:  # noqa: ARG002
        while True:  # each try takes one message out of the folder
            try:
                return super()._get(queue)
            except ValueError:
                log.warning("a message in %s was written in part and is dropped", queue)

    def get_table(self, exchange: str) -> Any:
        """The queues of an exchange: none if they were written in part."""
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
    """What kombu looks for; each connection writes its exchanges anew, where they are missing."""

    Channel = Channel

    def __init__(self, client: Any, **options: Any) -> None:
        super().__init__(client, **options)
        self.state = BrokerState()
