"""Verbs of an operator: gc, key, migrate."""

from collections.abc import Callable
from functools import wraps
from typing import IO, Any

import click

from core.loading import loading

# The parts that the operators' commands share: errors, privacy and the log.


class Refused(click.ClickException):
    """An error of the service, as the error of a command."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message to standard error."""
        click.echo(f"perennial: {self.message}", file=file, err=file is None)


def operator(process: str = "command") -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Return a decorator of a command that works on the service's own data.

    New files are private, the environment is hidden, the log names the process, and errors of the
    service are printed. Commands import what they need when they run, so that help is fast.
    """

    def decorate(run: Callable[..., int]) -> Callable[..., int]:
        @wraps(run)
        def run_privately(**chosen: Any) -> int:
            with loading():
                from core import bootstrap, logs
                from core.errors import PerennialError
                from core.logs import hide_environment
                from core.settings import read_settings
            bootstrap.keep_private()
            hide_environment()
            logs.configure(read_settings(), process=process)
            try:
                return run(**chosen)
            except PerennialError as error:
                raise Refused(error.message) from error

        return run_privately

    return decorate


# `perennial gc`: the same as `POST /v1/gc`, with or without a running service.


@click.command()
@click.option("--dry-run", is_flag=True, help="Report what would be deleted, and delete nothing.")
@click.option(
    "--older-than-hours",
    type=float,
    help="Delete only artifacts last stored at least this long ago (default: 24). Publishing a "
    "version must take less than half of it.",
)
@click.option(
    "--keep-last",
    type=int,
    help="Delete the weights of versions, except the newest this many of each model, those younger "
    "than --versions-older-than-days, and protected ones: roots, live versions and those that "
    "rollbacks return to, versions of unfinished jobs, parents of all these, and ancestors that "
    "were never scored.",
)
@click.option("--versions-older-than-days", type=float, help="See --keep-last (default: 30).")
@operator()
def gc(**chosen: Any) -> int:
    """Delete unreferenced artifacts.

    Deletes the artifacts that no row of the database refers to. If --keep-last is given, also
    deletes the weights of old versions. Safe while the service runs. Prints the result as JSON; the
    exit code is 1 if any list could not be read.
    """
    from pydantic import ValidationError

    from api.operations.schemas import CollectionView, NewCollection
    from core import bootstrap
    from core.errors import FieldInvalid
    from core.principal import COMMAND_LINE
    from core.settings import read_settings
    from core.upkeep.gc import collect_garbage

    try:
        order = NewCollection(
            **{name: given for name, given in chosen.items() if given is not None}
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise FieldInvalid(f"{first['loc'][0]}: {first['msg']}") from error
    settings = read_settings()
    bootstrap.require_own_database(settings)
    platform = bootstrap.build(settings)
    try:
        collected = collect_garbage(
            platform,
            COMMAND_LINE,
            grace=order.grace,
            retention=order.retention(platform.clock()),
            dry_run=order.dry_run,
        )
    finally:
        bootstrap.close(platform)
    click.echo(CollectionView.of(collected).model_dump_json(indent=2))
    return 1 if collected.unreadable else 0


# `perennial key`.


@click.command()
@click.option(
    "--revoke-others",
    is_flag=True,
    help="Print no key; revoke all keys except the one in PERENNIAL_ADMIN_KEY.",
)
@operator()
def key(revoke_others: bool) -> int:
    """Print a new admin key, or revoke the old ones.

    The key is for PERENNIAL_ADMIN_KEY. Once the service has been started with it, both it and the
    earlier keys are accepted.
    """
    from core.access.authenticate import make_key

    if not revoke_others:
        click.echo(make_key())
        return 0
    click.echo(f"Keys revoked: {_revoke_others()}.")
    return 0


def _revoke_others() -> int:
    from api.lifespan import require_safe
    from core import bootstrap
    from core.access.keys import revoke_other_keys
    from core.principal import COMMAND_LINE
    from core.settings import read_settings

    settings = read_settings()
    require_safe(settings)
    bootstrap.require_own_database(settings)
    platform = bootstrap.build(settings)
    try:
        return revoke_other_keys(platform.on_behalf_of(COMMAND_LINE))
    finally:
        bootstrap.close(platform)


# `perennial migrate`.


@click.command()
@operator()
def migrate() -> int:
    """Create the tables of an empty database.

    Also creates the S3 bucket, if one is set. Refuses a database that another version made.
    """
    from core import bootstrap
    from core.settings import read_settings

    settings = read_settings()
    bootstrap.migrate(settings)
    click.echo("The database schema is up to date.")
    if bootstrap.make_bucket(settings):
        click.echo("Created the bucket.")
    return 0
