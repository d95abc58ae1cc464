"""`perennial versions` and `perennial download`."""

from pathlib import Path

import click

from perennial.terminal.arguments import NEW_FILE, example
from perennial.terminal.output import json_option, print_json, print_json_lines, print_table
from perennial.terminal.progress import bytes_bar
from perennial.terminal.session import connected


@click.command(epilog=example("perennial versions demo"))
@click.argument("model")
@json_option
def versions(model: str, as_json: bool) -> None:
    """List the versions of a model, oldest first."""
    with connected() as client:
        if as_json:
            print_json_lines(client.versions.list(model))
            return
        aliases: dict[int, list[str]] = {}
        for alias, number in client.models.get(model)["aliases"].items():
            aliases.setdefault(number, []).append(alias)
        rows = [
            (
                one["version"],
                one["parent"],
                one["status"],
                one["verdict"],
                ", ".join(aliases.get(one["version"], ())),
                ", ".join(one["update_classes"]),
                one["created_at"][:19],
            )
            for one in client.versions.list(model)
        ]
    print_table(("version", "parent", "status", "gate", "aliases", "taught", "created"), rows)


@click.command(epilog=example("perennial download demo 2 --to demo-2.tar"))
@click.argument("model")
@click.argument("version", type=int)
@click.option("--to", type=NEW_FILE, required=True, metavar="FILE", help="The tar file to write.")
@json_option
def download(model: str, version: int, to: Path, as_json: bool) -> None:
    """Download a version: a tar of the folder that open_clip loads.

    If it is interrupted, the same command goes on.
    """
    with connected() as client, bytes_bar("receiving") as on_bytes:
        client.versions.download(model, version, to=to, on_bytes=on_bytes)
    if as_json:
        print_json({"file": str(to), "bytes": to.stat().st_size})
    else:
        click.echo(f"{to}: {to.stat().st_size:,} bytes.")
