"""The worker child: Celery with a solo pool on one device. Started by `worker.supervision`."""

import argparse
import json
import os
import sys
import warnings
from functools import partial

from core.loading import loading

with loading():
    from celery.exceptions import CPendingDeprecationWarning
    from celery.platforms import SecurityWarning
    from celery.signals import setup_logging, worker_ready

    from core import logs
    from core.bootstrap import build
    from core.errors import UnsafeConfiguration
    from core.job_types.run import run_next_job
    from core.logs import hide_environment
    from core.settings import read_settings, thread_count
    from core.values import JobId
    from worker.app import add_tasks, make_app, make_worker
    from worker.one_job import run_one_job
    from worker.parent import exit_with_parent
    from worker.stopping import Stopping


def main() -> int:
    """Run jobs when notified until asked to stop; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m worker", description=__doc__)
    parser.add_argument(
        "--owner", required=True, help="name of the worker in the claims of this run"
    )
    parser.add_argument("--parent", required=True, type=int, help="the supervisor's process id")
    parser.add_argument("--job", help="run this job to its end, and no other")
    arguments = parser.parse_args()
    hide_environment()
    exit_with_parent(arguments.parent)
    settings = read_settings()
    logs.configure(settings, process="worker", worker=arguments.owner)
    # Celery warns of running as root because of pickled messages; ours are JSON, and never read.
    warnings.simplefilter("ignore", SecurityWarning)
    # On losing its broker, Celery warns of late acknowledgements, which we do not use.
    warnings.simplefilter("ignore", CPendingDeprecationWarning)
    setup_logging.connect(_keep_our_logging)

    with os.fdopen(os.dup(1), "w") as supervisor:
        os.dup2(2, 1)  # what a library prints is not meant for the supervisor
        with loading():
            from core.clip.machine import find_devices  # takes seconds: torch
            from worker.tools import build_tools

        platform = build(settings)
        try:
            devices = find_devices(settings.device)
            tools = build_tools(platform, devices)
        except UnsafeConfiguration as fault:
            sys.exit(f"perennial: {fault.message}")
        json.dump({**devices.facts, "threads": thread_count(settings.threads)}, supervisor)
    stopping = Stopping()
    if arguments.job is not None:
        stopping.install()
        with stopping.busy():
            ended = run_one_job(
                platform, tools, JobId(arguments.job), owner=arguments.owner, stopping=stopping
            )
        return 0 if ended else 1
    app = make_app(settings)
    work = partial(run_next_job, platform, tools, owner=arguments.owner, stopping=stopping)
    add_tasks(app, work, stopping)
    worker_ready.connect(stopping.install, weak=False)
    worker = make_worker(app, settings, owner=arguments.owner)
    worker.start()
    return int(worker.exitcode or 0)


def _keep_our_logging(**_: object) -> None:
    """Do nothing: Celery leaves logging alone when this signal has a receiver."""


if __name__ == "__main__":
    sys.exit(main())
