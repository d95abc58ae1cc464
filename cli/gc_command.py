"""`perennial gc`: the same as `POST /v1/gc`, with or without a running service."""

from typing import Any

import click

from cli.operator import operator


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

    from api.schemas.operations.gc import CollectionView, NewCollection
    from core import bootstrap
    from core.domain.access.principal import COMMAND_LINE
    from core.errors import FieldInvalid
    from core.settings import Settings
    from core.use_cases.storage.gc import collect_garbage

    try:
        order = NewCollection(
            **{name: given for name, given in chosen.items() if given is not None}
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise FieldInvalid(f"{first['loc'][0]}: {first['msg']}") from error
    platform = bootstrap.build(Settings())
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
