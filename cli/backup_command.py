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
        help="copy database and artifacts into a folder",
        description="Copy database and artifacts into a folder, every artifact verified. Safe "
        "beside a running service. Into the same folder again, only what is new is copied. What "
        "is damaged or missing is named, and the exit code is 1.",
    )
    backup.add_argument("folder", type=Path, help="where to; made if need be")
    backup.set_defaults(run=_backup)

    back = commands.add_parser(
        "restore",
        help="fill an empty service from such a folder",
        description="Fill an empty database and an artifact store from a back-up, before the "
        "service is started; the kinds of database and store may be others than before. A "
        "database that holds rows is refused. Every artifact is verified; what is damaged or "
        "missing is named, and the exit code is 1.",
    )
    back.add_argument("folder", type=Path, help="what `backup` has written")
    back.add_argument(
        "--artifacts-only",
        action="store_true",
        help="leave the database as it is; put back artifacts that are missing or damaged",
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
        f"({sum(found.copied.values()):,} bytes) copied, {len(found.kept)} were there already.\n"
    )
    if not found.lost:
        return 0
    for state, digests in (("damaged", found.damaged), ("missing", found.missing)):
        for digest in sorted(digests):
            sys.stderr.write(f"{state}, not copied: {digest}\n")
    sys.stderr.write(f"perennial: {len(found.lost)} artifacts are lost; all else was copied.\n")
    return 1
