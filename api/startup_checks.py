"""Checks of the settings before the service starts."""

import ipaddress

from core.errors import UnsafeConfiguration
from core.settings import Settings
from core.use_cases.access.bootstrap_keys import require_unguessable


def require_safe(settings: Settings) -> None:
    """Raise UnsafeConfiguration for a guessable key, or for a reachable service without a key."""
    key = settings.admin_key.get_secret_value()
    if key:
        require_unguessable("PERENNIAL_ADMIN_KEY", key)
    inference_key = settings.inference_key.get_secret_value()
    if inference_key:
        require_unguessable("PERENNIAL_INFERENCE_KEY", inference_key)
    if not key and not _is_loopback(settings.host):
        raise UnsafeConfiguration(
            f"Binding to {settings.host} makes the service reachable from other machines: "
            "set PERENNIAL_ADMIN_KEY. `perennial key` prints one."
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
