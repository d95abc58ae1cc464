"""`perennial versions`, `download`, `promote`, `rollback`, `aliases` and `history`."""

from pathlib import Path
from typing import Any

import click

from perennial.terminal.arguments import (
    NEW_FILE,
    alias_option,
    example,
    find_version,
    number_of,
    version_argument,
)
from perennial.terminal.output import (
    bytes_bar,
    json_option,
    print_json_lines,
    print_list,
    print_table,
    tell,
    told_alias,
    warn_of_live,
)
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
        found = list(client.versions.list(model))
        rows = [
            (
                one["version"],
                one["parent"],
                one["status"],
                "erased images" if one["erasure"] else one["verdict"],
                ", ".join(aliases.get(one["version"], ())),
                one["precision"],
                ", ".join([*one["update_classes"], *["captions"] * one["taught_captions"]]),
                one["created_at"][:19],
            )
            for one in found
        ]
    columns = ("version", "parent", "status", "gate", "aliases", "precision", "taught", "created")
    print_table(columns, rows)
    for one in found:
        if one["next_step"]:
            live = ", ".join(aliases.get(one["version"], ()))
            warn_of_live(model, one["version"], live, one["next_step"])


@click.command(epilog=example("perennial download demo:2 --output demo-2.tar"))
@version_argument()
@click.option("--output", type=NEW_FILE, required=True, metavar="FILE", help="Tar file to write.")
@json_option
def download(named: str, output: Path, as_json: bool) -> None:
    """Download a version: a tar of the folder that open_clip loads.

    If it is interrupted, the same command goes on.
    """
    with connected() as client, bytes_bar("receiving") as on_bytes:
        model, version = find_version(client, named)
        client.versions.download(model, version, to=output, on_bytes=on_bytes)
    size = output.stat().st_size
    tell({"file": str(output), "bytes": size}, as_json, f"{output}: {size:,} bytes.")


override_option = click.option(
    "--override", is_flag=True, help="Move it even if the gate or an index refuses; needs a reason."
)

revision_option = click.option(
    "--expected-revision",
    type=int,
    metavar="N",
    help="Fail if the alias has moved since this revision; 0: it must be new.",
)


@click.command(epilog=example("perennial promote demo:2 --reason reviewed"))
@version_argument(bare=False)
@alias_option
@click.option("--reason", help="Reason, kept in the alias's history.")
@override_option
@revision_option
@json_option
def promote(named: str, override: bool, as_json: bool, **move: Any) -> None:
    """Point an alias at a version, if the gate lets it."""
    with connected() as client:
        model, version = find_version(client, named)
        moved = client.aliases.promote(model, version, override=override or None, **move)
    tell(moved, as_json, told_alias(moved))


@click.command(epilog=example("perennial rollback demo --reason 'bags became sandals'"))
@click.argument("model")
@alias_option
@click.option("--reason", required=True, help="Reason, kept in the alias's history.")
@click.option("--to", metavar="VERSION", help="Version (default: the one before).")
@override_option
@revision_option
@json_option
def rollback(model: str, to: str | None, override: bool, as_json: bool, **move: Any) -> None:
    """Point an alias at the version that was live before."""
    number = None if to is None else number_of(model, to)
    with connected() as client:
        moved = client.aliases.roll_back(model, to=number, override=override or None, **move)
    tell(moved, as_json, told_alias(moved))


@click.command(epilog=example("perennial aliases demo"))
@click.argument("model")
@json_option
def aliases(model: str, as_json: bool) -> None:
    """List the aliases of a model."""
    with connected() as client:
        print_list(
            client.aliases.list(model),
            as_json,
            ("alias", "version", "revision", "moved"),
            lambda one: (one["alias"], one["version"], one["revision"], one["updated_at"][:19]),
        )


@click.command(epilog=example("perennial history demo"))
@click.argument("model")
@alias_option
@json_option
def history(model: str, alias: str, as_json: bool) -> None:
    """List the moves of an alias, oldest first."""
    with connected() as client:
        print_list(
            client.aliases.history(model, alias),
            as_json,
            ("revision", "move", "from", "to", "by", "reason", "at"),
            lambda one: (
                one["revision"],
                one["kind"] + (", override" if one["override"] else ""),
                one["from_version"],
                one["to_version"],
                one["actor"],
                one["reason"],
                one["at"][:19],
            ),
        )


VERBS = (versions, promote, rollback, aliases, history, download)
