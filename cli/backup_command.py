"""`perennial backup` and `perennial restore`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.operations import operator

if TYPE_CHECKING:
    from core.backup.backup import Outcome


FOLDER = click.Path(path_type=Path)


@click.command()
@click.argument("folder", type=FOLDER)
@operator()
def backup(folder: Path) -> int:
    """Copy the database and its artifacts into a folder.

    Verifies every artifact. Safe while the service runs. A later back-up into the same folder
    copies only artifacts that the folder does not hold intact, and deletes those that no back-up
    has needed for PERENNIAL_BACKUP_DAYS (30), such as garbage that was collected. Artifacts that
    are damaged or missing in the store are listed, and the exit code is then 1.
    """
    from core.backup.backup import back_up
    from core.settings import read_settings

    return _run_and_report("Backed up", lambda: back_up(read_settings(), folder))


@click.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "--artifacts-only",
    is_flag=True,
    help="Restore only missing and damaged artifacts; do not change the database.",
)
@operator()
def restore(folder: Path, artifacts_only: bool) -> int:
    """Restore a back-up into an empty database and a store.

    To be run before the service is started; both may be of a different kind than the originals. A
    database with rows is refused. Every artifact is verified; damaged and missing artifacts are
    listed, and the exit code is then 1.
    """
    from core.backup import backup
    from core.settings import read_settings

    return _run_and_report(
        "Restored", lambda: backup.restore(read_settings(), folder, artifacts_only=artifacts_only)
    )


def _run_and_report(done: str, action: Callable[[], "Outcome"]) -> int:
    """Run the action and print what was done and what is lost; return 1 if anything is."""
    from core.errors import FieldInvalid

    try:
        outcome = action()
    except OSError as error:  # of a folder that cannot be read or written
        raise FieldInvalid(str(error)) from error
    found = outcome.artifacts
    click.echo(
        f"{done}: {outcome.rows} rows; {len(found.copied)} artifacts "
        f"({sum(found.copied.values()):,} bytes) copied, {len(found.kept)} were already there."
    )
    if outcome.forgotten:
        click.echo(f"Deleted from the folder: {outcome.forgotten} artifacts of earlier back-ups.")
    if not found.lost:
        return 0
    for state, digests in (("damaged", found.damaged), ("missing", found.missing)):
        for digest in sorted(digests):
            click.echo(f"{state}, not copied: {digest}", err=True)
    click.echo(
        f"perennial: {len(found.lost)} artifacts are lost; everything else was copied.", err=True
    )
    return 1
