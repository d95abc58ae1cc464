"""`python -m worker.supervision.health` exits with 0 if a worker of this machine is alive."""

import socket
import sys

from core.bootstrap import build, close
from core.errors import Unavailable
from core.fleet.rows import Heartbeats
from core.fleet.workers import silence_limit_s
from core.platform import Platform
from core.settings import read_settings


def is_alive(platform: Platform, host: str) -> bool:
    """Return whether a worker on this host has sent a recent heartbeat. Raises Unavailable."""
    with platform.transactions(read_only=True) as work:
        fresh = work[Heartbeats].fresh(silence_limit_s(platform.settings))
    return any(facts.get("host") == host for _, facts in fresh)


def main() -> int:
    """Return 0 if a worker is alive, and 1 if none is or the database does not answer."""
    platform = build(read_settings())
    try:
        return 0 if is_alive(platform, socket.gethostname()) else 1
    except Unavailable as fault:
        sys.stderr.write(f"{fault.message}\n")
        return 1
    finally:
        close(platform)


if __name__ == "__main__":
    sys.exit(main())
