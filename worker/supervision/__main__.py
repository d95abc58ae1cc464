"""The worker's parent process: `python -m worker.supervision [--exit-with-parent] [--job ID]`."""

import argparse
import secrets
import signal
import socket
import sys
from functools import partial

from core.loading import loading

with loading():
    from core import logs
    from core.bootstrap import build, keep_private, require_own_database, webhook_client
    from core.errors import UnsafeConfiguration
    from core.jobs.broker import BackgroundNotifier, CeleryNotifier
    from core.logs import hide_environment
    from core.settings import read_settings
    from core.values import JobId
    from worker.parent import on_parent_exit
    from worker.supervision.supervisor import Child, Supervisor
    from worker.supervision.threads import WebhookSender

SENDING_ENDS_S = 1.0  # for webhooks that are being sent when the child has ended


def main() -> int:
    """Run a supervisor until SIGTERM, SIGINT or, if asked for, the end of standard input.

    One that runs a job alone also ends with that. Return the exit code.
    """
    parser = argparse.ArgumentParser(prog="python -m worker.supervision", description=__doc__)
    parser.add_argument("--exit-with-parent", action="store_true", help="end with standard input")
    parser.add_argument("--job", type=JobId, help="run this job alone; exit with 0 once it ended")
    arguments = parser.parse_args()
    hide_environment()
    keep_private()
    settings = read_settings()
    # The pods of one job follow each other under one name, so that a killed one is not missed.
    name = arguments.job or f"{socket.gethostname()}:{secrets.token_hex(4)}"
    logs.configure(settings, process="supervisor", worker=name)
    try:
        require_own_database(settings)
    except UnsafeConfiguration as fault:
        sys.exit(f"perennial: {fault.message}")
    platform = build(settings)
    alone = arguments.job is not None
    notifier = None if alone else BackgroundNotifier(CeleryNotifier(settings))
    supervisor = Supervisor(platform, notifier, partial(Child.start, job=arguments.job), name=name)
    sender = WebhookSender(platform, webhook_client(settings))

    def stop(*_: object) -> None:
        supervisor.stop()
        sender.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    if arguments.exit_with_parent:
        on_parent_exit(stop)
    if not alone:
        sender.start()
    supervisor.run()
    if alone:
        return 0 if supervisor.job_ended else 1
    sender.stop()
    sender.join(SENDING_ENDS_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())
