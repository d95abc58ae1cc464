"""Checks of the settings before the service starts."""

import ipaddress

from core.bootstrap import signatures
from core.domain.access.token import is_confidential
from core.errors import UnsafeConfiguration
from core.settings import Settings
from core.use_cases.access.bootstrap_keys import require_unguessable


def require_safe(settings: Settings) -> None:
    """Raise UnsafeConfiguration for a guessable key, or for a reachable service without a key.

    Likewise for keys of bundles that cannot be read.
    """
    key = settings.admin_key.get_secret_value()
    if key:
        require_unguessable("PERENNIAL_ADMIN_KEY", key)
    inference_key = settings.inference_key.get_secret_value()
    if inference_key:
        require_unguessable("PERENNIAL_INFERENCE_KEY", inference_key)
    signatures(settings)
    if settings.oidc_issuer or settings.oidc_audience:
        _require_issuer(settings)
    if not key and not is_loopback(settings.host):
        raise UnsafeConfiguration(
            f"Binding to {settings.host} makes the service reachable from other machines: "
            "set PERENNIAL_ADMIN_KEY. `perennial key` prints one."
        )


def _require_issuer(settings: Settings) -> None:
    """Raise UnsafeConfiguration unless tokens have an issuer and an audience to be checked for."""
    if not settings.oidc_issuer or not settings.oidc_audience:
        raise UnsafeConfiguration("Set PERENNIAL_OIDC_ISSUER and PERENNIAL_OIDC_AUDIENCE together.")
    if not is_confidential(settings.oidc_issuer):
        raise UnsafeConfiguration(
            "PERENNIAL_OIDC_ISSUER must be an https URL: whoever can change what it answers can "
            "make tokens. http is accepted for an issuer on this machine alone."
        )


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches what listens on a host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
