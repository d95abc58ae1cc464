"""`perennial compatibility`: whether an index of old vectors still holds."""

from pathlib import Path

import click

from perennial.commands.registry.export import NEW_PLACE, find_version, require_absent
from perennial.terminal.arguments import example
from perennial.terminal.following import follow, tell_ordered, wait_option
from perennial.terminal.output import json_option, percent, points, print_json, print_table
from perennial.terminal.session import connected
from perennial.types.vectors import Compatibility


@click.command(epilog=example("perennial compatibility demo:3 --from 1 --wait"))
@click.argument("reference")
@click.option(
    "--from",
    "baseline",
    type=int,
    metavar="N",
    help="Version whose vectors are in the index (default: the parent).",
)
@click.option(
    "--bridge",
    type=NEW_PLACE,
    metavar="FILE",
    help="Wait, then write the bridge to this file (safetensors).",
)
@wait_option
@json_option
def compatibility(
    reference: str, baseline: int | None, bridge: Path | None, wait: bool, as_json: bool
) -> None:
    """Report whether an index of an older version's vectors still serves a version.

    REFERENCE is a model, or name@alias, name:7 or name@sha256:...
    """
    if bridge is not None:
        require_absent(bridge)
    with connected() as client:
        model, version = find_version(client, reference)
        job = client.vectors.compare(model, version, baseline=baseline)
        if not (wait or bridge):
            if as_json:
                print_json(job)
            else:
                tell_ordered(job)
            return
        ended = follow(client, job["id"])
        found = client.vectors.report(model, version, (ended["result"] or {})["from"])
        if bridge is not None:
            client.vectors.download_bridge(model, version, found["from"], to=bridge)
    if as_json:
        print_json(found)
    else:
        _print(found)


def _print(found: Compatibility) -> None:
    click.echo(found["reason"])
    print_table(
        ("suite", "search", "queries", "old index, %", "by bridge, %", "re-embedded, %", "bridge"),
        [
            (
                one["suite"],
                one["search"].replace("_", " "),
                one["queries"] if one["judged"] else f"{one['queries']} (not judged)",
                percent(one["raw"]),
                percent(one["bridged"]),
                percent(one["reembedded"]),
                points(0.0 - one["bridged_loss"]["value"]),
            )
            for one in found["searches"]
        ],
        title=f"Recall@{found['depth']} of {found['model']} version {found['version']} in an index "
        f"of version {found['from']}'s vectors",
    )
