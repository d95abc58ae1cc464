"""Check that the service can take work."""

from contextlib import suppress

from core.errors import NotReady, Unavailable
from core.ports import Platform
from core.use_cases.operations.workers import silence_limit_s


def check_readiness(platform: Platform) -> dict[str, bool]:
    """Return the checks of database, disk and worker. Raises NotReady with them if one fails."""
    checks = {"database": False, "disk": False, "worker": False}
    with suppress(Unavailable):  # where artifacts lie on S3, it answers too
        checks["disk"] = platform.artifacts.free_bytes() >= platform.settings.min_free_bytes
    with suppress(Unavailable), platform.transactions(read_only=True) as work:
        checks["worker"] = bool(work.heartbeats.fresh(silence_limit_s(platform.settings)))
        checks["database"] = True
    if not all(checks.values()):
        missing = ", ".join(name for name, good in checks.items() if not good)
        raise NotReady(f"Not ready: {missing}.", checks=checks)
    return checks
