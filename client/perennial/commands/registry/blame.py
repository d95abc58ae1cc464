"""`perennial blame`: which images of an update cost a class its accuracy."""

from typing import get_args

import click

from perennial.terminal.arguments import example
from perennial.terminal.following import follow, tell_end, tell_ordered, wait_option
from perennial.terminal.output import json_option, print_json
from perennial.terminal.session import connected
from perennial.types.evaluation.blames import Grouping


@click.command(epilog=example("perennial blame demo 2 --class 'ankle boot' --wait"))
@click.argument("model")
@click.argument("version", type=int)
@click.option(
    "--class", "class_name", help="The class (default: each that fell from the version's parent)."
)
@click.option(
    "--by",
    type=click.Choice(get_args(Grouping)),
    help="What the images of a group have in common (default: upload).",
)
@click.option("--groups", type=int, metavar="N", help="At most this many groups (default: 5).")
@click.option("--suite", help="Use only this suite, or 'version 2' for its holdout.")
@wait_option
@json_option
def blame(
    model: str,
    version: int,
    class_name: str | None,
    by: Grouping | None,
    groups: int | None,
    suite: str | None,
    wait: bool,
    as_json: bool,
) -> None:
    """Find which images of VERSION's update cost a class its accuracy.

    Orders a job that trains the update again without each group of its images. With --wait, follows
    it and prints what each group changed; `perennial watch` prints that too.
    """
    with connected() as client:
        job = client.jobs.order_blame(
            model=model,
            version=version,
            class_name=class_name,
            by=by,
            groups=groups,
            suite=suite,
        )
        if wait:
            job = follow(client, job["id"])
        if as_json:
            print_json(client.jobs.blame(job["id"]) if wait else job)
        elif wait:
            tell_end(client, job)
        else:
            tell_ordered(job)
