"""`perennial jobs`: list, show, cancel and retry jobs."""

from itertools import islice
from typing import get_args

import click

from perennial.terminal.arguments import example
from perennial.terminal.output import json_option, print_fields, print_json, print_list
from perennial.terminal.session import connected
from perennial.types.jobs import Job, JobStatus, JobType

COLUMNS = ("type", "model", "status", "phase", "step", "verdict", "created")


@click.group()
def jobs() -> None:
    """List, show, cancel and retry jobs."""


@jobs.command("list", epilog=example("perennial jobs list --model demo --status running"))
@click.option("--model", "-m", help="Only jobs of this model.")
@click.option("--type", "job_type", type=click.Choice(get_args(JobType)), help="Only this type.")
@click.option("--status", type=click.Choice(get_args(JobStatus)), help="Only this status.")
@click.option("--limit", type=int, default=20, show_default=True, help="How many, newest first.")
@json_option
def list_jobs(
    model: str | None,
    job_type: JobType | None,
    status: JobStatus | None,
    limit: int,
    as_json: bool,
) -> None:
    """List the newest jobs."""
    with connected() as client:
        found = client.jobs.list(model=model, job_type=job_type, status=status)
        print_list(islice(found, limit), as_json, ("job", *COLUMNS), _row)


@jobs.command(epilog=example("perennial jobs show job_01a218fa32962d6d06d5fb2d0534"))
@click.argument("job")
@json_option
def show(job: str, as_json: bool) -> None:
    """Show a job."""
    with connected() as client:
        _tell(client.jobs.get(job), as_json)


@jobs.command(epilog=example("perennial jobs cancel job_01a218fa32962d6d06d5fb2d0534"))
@click.argument("job")
@json_option
def cancel(job: str, as_json: bool) -> None:
    """Cancel a job: at once if it is queued, at its next step if it is running."""
    with connected() as client:
        _tell(client.jobs.cancel(job), as_json)


@jobs.command(epilog=example("perennial jobs retry job_01a218fa32962d6d06d5fb2d0534"))
@click.argument("job")
@json_option
def retry(job: str, as_json: bool) -> None:
    """Order a job that failed or was cancelled again, as a new job."""
    with connected() as client:
        _tell(client.jobs.retry(job), as_json)


def _row(job: Job) -> tuple[str | None, ...]:
    done = job["progress"]
    step = f"{done['step']}/{done['total']}" if done["total"] else ""
    verdict = (job["result"] or {}).get("verdict")
    at = job["created_at"][:19]
    return job["id"], job["type"], job["model"], job["status"], job["phase"], step, verdict, at


def _tell(job: Job, as_json: bool) -> None:
    if as_json:
        print_json(job)
        return
    error, result = job["error"] or {}, job["result"] or {}
    print_fields(
        [
            *zip(("id", *COLUMNS), _row(job), strict=True),
            ("version", result.get("version")),
            ("error", error.get("message")),
            ("retry of", job["retry_of"]),
        ]
    )
