"""`perennial evaluate`: score a version again, or an imported one for the first time."""

import click

from perennial.terminal.arguments import alias_option, example
from perennial.terminal.following import (
    follow,
    gate_option,
    require_passed,
    tell_end,
    tell_ordered,
    wait_option,
)
from perennial.terminal.output import json_option, print_json
from perennial.terminal.session import connected


@click.command(epilog=example("perennial evaluate demo 3 --wait --fail-on-gate"))
@click.argument("model")
@click.argument("version", type=int)
@alias_option
@wait_option
@gate_option
@json_option
def evaluate(
    model: str, version: int, alias: str, wait: bool, fail_on_gate: bool, as_json: bool
) -> None:
    """Score a version on the model's suites, by the model's policy, as both are now.

    It is also compared with what the alias points to.
    """
    if fail_on_gate and not wait:
        raise click.UsageError("--fail-on-gate needs --wait.")
    with connected() as client:
        job = client.jobs.order_evaluation(model=model, version=version, alias=alias)
        if wait:
            job = follow(client, job["id"])
        if as_json:
            print_json(job)
        elif wait:
            tell_end(client, job)
        else:
            tell_ordered(job)
    if fail_on_gate:
        require_passed(job)
