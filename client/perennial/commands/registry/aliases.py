"""`perennial promote`, `rollback`, `aliases` and `history`."""

import click

from perennial.terminal.arguments import alias_option, example
from perennial.terminal.output import json_option, print_json, print_list
from perennial.terminal.session import connected
from perennial.types.aliases import Alias

override_option = click.option(
    "--override", is_flag=True, help="Move it even if the gate refuses; needs a reason."
)
revision_option = click.option(
    "--expected-revision",
    type=int,
    metavar="N",
    help="Fail if the alias has moved since this revision; 0: it must be new.",
)


@click.command(epilog=example("perennial promote demo 2 --reason reviewed"))
@click.argument("model")
@click.argument("version", type=int)
@alias_option
@click.option("--reason", help="Reason, kept in the alias's history.")
@override_option
@revision_option
@json_option
def promote(
    model: str,
    version: int,
    alias: str,
    reason: str | None,
    override: bool,
    expected_revision: int | None,
    as_json: bool,
) -> None:
    """Point an alias at a version, if the gate lets it."""
    with connected() as client:
        moved = client.aliases.promote(
            model,
            version,
            alias=alias,
            reason=reason,
            override=override or None,
            expected_revision=expected_revision,
        )
    _tell(moved, as_json)


@click.command(epilog=example("perennial rollback demo --reason 'bags became sandals'"))
@click.argument("model")
@alias_option
@click.option("--reason", required=True, help="Reason, kept in the alias's history.")
@click.option("--to", type=int, metavar="VERSION", help="Version (default: the one before).")
@override_option
@revision_option
@json_option
def rollback(
    model: str,
    alias: str,
    reason: str,
    to: int | None,
    override: bool,
    expected_revision: int | None,
    as_json: bool,
) -> None:
    """Point an alias at the version that was live before."""
    with connected() as client:
        moved = client.aliases.roll_back(
            model,
            alias=alias,
            reason=reason,
            to=to,
            override=override or None,
            expected_revision=expected_revision,
        )
    _tell(moved, as_json)


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


def _tell(alias: Alias, as_json: bool) -> None:
    if as_json:
        print_json(alias)
        return
    click.echo(
        f"{alias['model']}@{alias['alias']} is version {alias['version']} "
        f"(revision {alias['revision']})."
    )
