"""`perennial job` and `watch`: list, follow, cancel and retry jobs."""

from itertools import islice
from typing import Any

import click

from perennial.terminal.arguments import example, filter_options, gate_option
from perennial.terminal.output import json_option, print_fields, print_json_lines, print_list, tell
from perennial.terminal.session import connected, ended, follow, require_passed, tell_end
from perennial.types import Job, JobFilters, JobSummary

COLUMNS = ("type", "model", "status", "phase", "step", "verdict", "created")


@click.group()
def job() -> None:
    """List, show, watch, cancel and retry jobs."""


@job.command("list", epilog=example("perennial job list --model demo --status running"))
@filter_options(JobFilters, model="-m")
@click.option("--limit", type=int, default=20, show_default=True, help="How many, newest first.")
@json_option
def list_jobs(limit: int, as_json: bool, **filters: Any) -> None:
    """List the newest jobs."""
    with connected() as client:
        found = islice(client.jobs.list(**filters), limit)
        print_list(found, as_json, ("job", *COLUMNS), _row)


@job.command(epilog=example("perennial job show job_01a218fa32962d6d06d5fb2d0534"))
@click.argument("job")
@json_option
def show(job: str, as_json: bool) -> None:
    """Show a job."""
    with connected() as client:
        tell(client.jobs.get(job), as_json, _print_job)


@job.command(epilog=example("perennial job cancel job_01a218fa32962d6d06d5fb2d0534"))
@click.argument("job")
@json_option
def cancel(job: str, as_json: bool) -> None:
    """Cancel a job.

    A queued one ends at once, a running one at its next step.
    """
    with connected() as client:
        tell(client.jobs.cancel(job), as_json, _print_job)


@job.command(epilog=example("perennial job retry job_01a218fa32962d6d06d5fb2d0534"))
@click.argument("job")
@json_option
def retry(job: str, as_json: bool) -> None:
    """Order a job that failed or was cancelled again, as a new job."""
    with connected() as client:
        tell(client.jobs.retry(job), as_json, _print_job)


def _row(job: JobSummary) -> tuple[str | None, ...]:
    done = job["progress"]
    step = f"{done['step']}/{done['total']}" if done["total"] else ""
    verdict = (job["result"] or {}).get("verdict")
    at = job["created_at"][:19]
    return job["id"], job["type"], job["model"], job["status"], job["phase"], step, verdict, at


def _print_job(job: Job) -> None:
    error, result = job["error"] or {}, job["result"] or {}
    print_fields(
        [
            *zip(("id", *COLUMNS), _row(job), strict=True),
            ("version", result.get("version")),
            ("error", error.get("message")),
            ("retry of", job["retry_of"]),
        ]
    )


@click.command(epilog=example("perennial watch job_01a218fa32962d6d06d5fb2d0534"))
@click.argument("job")
@click.option("--after", type=int, metavar="EVENT", help="Only events after this one (--json).")
@gate_option
@json_option
def watch(job: str, after: int | None, fail_on_gate: bool, as_json: bool) -> None:
    """Follow a job until it ends, and print what it came to.

    With --json, its events are printed instead, one a line, each when it happens. The job goes on
    when the command is interrupted, and a broken connection is made again.
    """
    with connected() as client:
        if as_json:
            print_json_lines(client.jobs.watch(job, after=after))
            found = ended(client, job)
        else:
            found = follow(client, job)
            tell_end(client, found)
    if fail_on_gate:
        require_passed(found)


job.add_command(watch)

VERBS = (job, watch)
