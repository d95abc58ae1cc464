"""Following a job to its end, and telling how it ended."""

import click

from perennial.client import Client
from perennial.errors import JobFailed
from perennial.terminal.blamed import print_blame
from perennial.terminal.exit_codes import GATE
from perennial.terminal.output import note
from perennial.terminal.progress import job_bar
from perennial.types.jobs import Job

wait_option = click.option("--wait", is_flag=True, help="Wait until the job has ended.")
gate_option = click.option(
    "--fail-on-gate",
    is_flag=True,
    help=f"Exit with {GATE} unless the gate passed the version.",
)


def follow(client: Client, job: str) -> Job:
    """Show a job's progress until it has ended, and return it. Raises JobFailed."""
    try:
        with job_bar() as show:
            for event in client.jobs.watch(job):
                show(event)
    except KeyboardInterrupt:
        note(f"The job goes on. Follow it with `perennial watch {job}`.")
        raise
    return ended(client, job)


def tell_ordered(job: Job) -> None:
    """Print the id of a job that goes on by itself."""
    click.echo(f"Ordered: {job['id']}. Follow it with `perennial watch {job['id']}`.")


def ended(client: Client, job: str) -> Job:
    """Return a job that has succeeded. Raises JobFailed for one that ended otherwise."""
    found = client.jobs.get(job)
    if found["status"] != "succeeded":
        raise JobFailed(found)
    return found


def tell_end(client: Client, job: Job) -> None:
    """Print what a job that has succeeded came to."""
    if job["type"] == "blame":
        print_blame(client.jobs.blame(job["id"]))
        return
    result = job["result"] or {}
    verdict, version, model = result.get("verdict"), result.get("version"), job["model"]
    if version is None or model is None:
        click.echo(f"Job {job['id']} ({job['type']}) has succeeded.")
        return
    click.echo(f"{model}: version {version}" + (f", gate: {verdict}" if verdict else ""))
    if verdict:
        for reason in client.versions.report(model, version)["reasons"]:
            click.echo(f"- {reason}")
    promotion = result.get("promotion") or {}
    if promotion.get("moved"):
        click.echo(f"{model}@{promotion['alias']} is version {version}.")
    elif promotion:
        click.echo(f"{model}@{promotion['alias']} stays where it is: {promotion['reason']}.")
        if verdict == "passed":
            click.echo(f"To make it live: perennial promote {model} {version}")


def require_passed(job: Job) -> None:
    """End the command with the gate's exit code unless the gate passed the job's version."""
    verdict = (job["result"] or {}).get("verdict")
    if verdict not in {None, "passed"}:
        note(f"perennial: The gate's verdict is '{verdict}'.")
        raise click.exceptions.Exit(GATE)
