"""Have a cluster run the jobs of the settings' queues: `python -m worker.cluster MANIFEST`."""

import argparse
import os
import signal
import sys
from pathlib import Path

from core.loading import loading

with loading():
    from core import logs
    from core.bootstrap import build, close, require_own_database
    from core.errors import UnsafeConfiguration
    from core.jobs.broker import CeleryNotifier
    from core.logs import hide_environment
    from core.settings import read_settings
    from worker.cluster.dispatcher import Dispatcher
    from worker.cluster.jobs import ClusterJobs, ClusterRefused


def main() -> int:
    """Dispatch until SIGTERM or SIGINT; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m worker.cluster", description=__doc__)
    parser.add_argument("manifest", type=Path, help="the Job of which each is made, as YAML")
    arguments = parser.parse_args()
    hide_environment()
    settings = read_settings()
    logs.configure(settings, process="dispatcher")
    try:
        cluster = ClusterJobs(arguments.manifest, os.environ.get("KUBECONFIG"))
        require_own_database(settings)
    except UnsafeConfiguration as fault:
        sys.exit(f"perennial: {fault.message}")
    except (ClusterRefused, OSError) as fault:
        sys.exit(f"perennial: {fault}")
    platform = build(settings)
    dispatcher = Dispatcher(platform, cluster, CeleryNotifier(settings).forget)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: dispatcher.stop())
    dispatcher.run()
    close(platform)
    return 0


if __name__ == "__main__":
    sys.exit(main())
