"""Broker options shared by notifier and worker, as plain values without a broker client."""

import socket
from typing import Any

from core.domain.jobs.order import Queue
from core.settings import Settings

TASK = "perennial.perform"


def name_of(queue: Queue) -> str:
    """Return the broker's name of a queue."""
    return f"perennial.{queue.value}"


def transport(settings: Settings) -> str | None:
    """Return the path of a transport for kombu, or None for its own choice by the URL's scheme."""
    return "core.adapters.broker.filesystem:Transport" if _is_folder(settings) else None


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
