"""The inference process: `python -m worker.inference [--exit-with-parent]`."""

import argparse
import os
import sys

from core.loading import loading

# Waiting threads must not spin: on shared cores they slow the decoders, the API, and the thread
# that they wait for. OpenMP reads this when torch is loaded; what numpy computes needs one thread.
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

with loading():
    from core import logs
    from core.bootstrap import build, keep_private, require_own_database
    from core.errors import UnsafeConfiguration
    from core.logs import hide_environment
    from core.settings import read_settings
    from worker.inference.server import make_app, make_server
    from worker.parent import on_parent_exit


def main() -> None:
    """Serve until SIGTERM, SIGINT or, if asked for, the end of standard input."""
    parser = argparse.ArgumentParser(prog="python -m worker.inference", description=__doc__)
    parser.add_argument("--exit-with-parent", action="store_true", help="end with standard input")
    arguments = parser.parse_args()
    hide_environment()
    keep_private()
    settings = read_settings()
    logs.configure(settings, process="inference")
    try:
        require_own_database(settings)
        app = make_app(build(settings))
    except UnsafeConfiguration as fault:
        sys.exit(f"perennial: {fault.message}")
    server = make_server(app, settings)

    def stop() -> None:
        server.should_exit = True

    if arguments.exit_with_parent:
        on_parent_exit(stop)
    server.run()


if __name__ == "__main__":
    main()
