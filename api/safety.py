"""What the service refuses to start with."""

import ipaddress

from core.errors import UnsafeConfiguration
from core.settings import Settings

SHORTEST_KEY = 20


def require_safe(settings: Settings) -> None:
    """Raise UnsafeConfiguration for a reachable service without a key, or with a guessable one."""
    key = settings.admin_key.get_secret_value()
    if key and len(key) < SHORTEST_KEY:
        raise UnsafeConfiguration(
            f"PERENNIAL_ADMIN_KEY has {len(key)} characters; a key has at least {SHORTEST_KEY} "
            "random ones. `python -m api key` makes one."
        )
    if not key and not _is_loopback(settings.host):
        raise UnsafeConfiguration(
            f"Binding to {settings.host} makes the service reachable from other machines: "
            "set PERENNIAL_ADMIN_KEY. `python -m api key` makes one."
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
