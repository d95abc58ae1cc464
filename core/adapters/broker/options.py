"""How both sides of the doorbell reach the broker: plain values, no broker's client."""

import socket
from typing import Any

from core.domain.jobs.job import Queue
from core.settings import Settings

TASK = "perennial.perform"


def name_of(queue: Queue) -> str:
    """What the broker calls a queue."""
    return f"perennial.{queue.value}"


def transport(settings: Settings) -> str | None:
    """What speaks to the broker, as kombu is told; None: kombu's own for the scheme of its URL."""
    return "core.adapters.broker.filesystem:Transport" if _is_folder(settings) else None


def transport_options(settings: Settings) -> dict[str, Any]:
    """Kombu's options for the broker of these settings: every wait has an end."""
    if _is_folder(settings):
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
        "socket_connect_timeout": 2.0,
        "socket_timeout": 3.0,  # above the second that the transport blocks waiting
        "socket_keepalive": True,
        "socket_keepalive_options": _keepalive(),
        # None: where a check fails it connects anew in silence, and a worker that was busy as its
        # broker died would listen to the dead connection from then on.
        "health_check_interval": 0,
        "retry_on_timeout": True,
        "visibility_timeout": 3600,  # messages are acknowledged on arrival: it never matters
        # A sender tries twice and gives up: the sweeper rings again.
        "max_retries": 1,
        "interval_start": 0.05,
        "connect_retries_timeout": 2.0,
    }


def _is_folder(settings: Settings) -> bool:
    return settings.broker.startswith("filesystem:")


def _keepalive() -> dict[int, int]:
    """A peer that vanished without a word is missed within half a minute, where settable."""
    wanted = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 30_000}
    return {getattr(socket, name): value for name, value in wanted.items() if hasattr(socket, name)}
