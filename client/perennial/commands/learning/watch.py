"""`perennial watch`: a job's events as they happen."""

import click

from perennial.terminal.arguments import example
from perennial.terminal.following import ended, follow, gate_option, require_passed, tell_end
from perennial.terminal.output import json_option, print_json_lines
from perennial.terminal.session import connected


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
