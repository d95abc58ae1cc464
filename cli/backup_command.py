"""`perennial backup` and `perennial restore`."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from core.backup import Outcome, back_up, restore
from core.errors import FieldInvalid
from core.settings import Settings


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add both commands to the command line."""
    backup = commands.add_parser(
        "backup",
        help="copy the database and its artifacts into a folder",
        description="Copy the database and its artifacts into a folder, and verify every "
        "artifact. Safe while the service runs. A later back-up into the same folder copies only "
        "artifacts that the folder does not hold intact. Artifacts that are damaged or missing in "
        "the store are listed, and the exit code is then 1.",
    )
    backup.add_argument("folder", type=Path, help="target folder; created if it does not exist")
    backup.set_defaults(run=_backup)

    back = commands.add_parser(
        "restore",
        help="restore a back-up into an empty database and an artifact store",
        description="Restore a back-up into an empty database and an artifact store, before the "
        "service is started; both may be of a different kind than the originals. A database with "
        "rows is refused. Every artifact is verified; damaged and missing artifacts are listed, "
        "and the exit code is then 1.",
    )
    back.add_argument("folder", type=Path, help="folder written by `backup`")
    back.add_argument(
        "--artifacts-only",
        action="store_true",
        help="restore only missing and damaged artifacts; do not change the database",
    )
    back.set_defaults(run=_restore)


def _backup(chosen: argparse.Namespace) -> int:
    return _run_and_report("Backed up", lambda: back_up(Settings(), chosen.folder))


def _restore(chosen: argparse.Namespace) -> int:
    only = chosen.artifacts_only
    return _run_and_report(
        "Restored", lambda: restore(Settings(), chosen.folder, artifacts_only=only)
    )


def _run_and_report(done: str, action: Callable[[], Outcome]) -> int:
    """Run the action and print what was done and what is lost; return 1 if anything is."""
    try:
        outcome = action()
    except OSError as error:  # of a folder that cannot be read or written
        raise FieldInvalid(str(error)) from error
    found = outcome.artifacts
    sys.stdout.write(
        f"{done}: {outcome.rows} rows; {len(found.copied)} artifacts "
        f"({sum(found.copied.values()):,} bytes) copied, {len(found.kept)} were already there.\n"
    )
    if not found.lost:
        return 0
    for state, digests in (("damaged", found.damaged), ("missing", found.missing)):
        for digest in sorted(digests):
            sys.stderr.write(f"{state}, not copied: {digest}\n")
    sys.stderr.write(
        f"perennial: {len(found.lost)} artifacts are lost; everything else was copied.\n"
    )
    return 1
