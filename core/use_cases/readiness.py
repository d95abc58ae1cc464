"""Whether the service can take work."""

from core.errors import NotReady, Unavailable
from core.ports import Platform
from core.use_cases.workers import patience_s


def check_readiness(platform: Platform) -> dict[str, bool]:
    """The checks by name: database, disk, worker. Raises NotReady, with them, if one fails."""
    checks = {"database": False, "disk": False, "worker": False}
    try:
        checks["disk"] = platform.artifacts.free_bytes() >= platform.settings.min_free_bytes
        with platform.transactions(read_only=True) as work:
            checks["worker"] = bool(work.beats.fresh(patience_s(platform.settings)))
        checks["database"] = True
    except Unavailable as fault:
        raise NotReady(fault.message, checks=checks) from fault
    if not all(checks.values()):
        missing = ", ".join(name for name, good in checks.items() if not good)
        raise NotReady(f"Not ready: {missing}.", checks=checks)
    return checks
