"""The command line: `perennial serve`, `migrate`, `suite`, `gc`, `backup`, `restore`, `key`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from api.server import listening
from api.startup_checks import require_safe
from cli import backup_command, gc_command, suite_command
from core import bootstrap, logs
from core.domain.datasets.suite import SuiteKind
from core.domain.recipes.prompt import DEFAULT_PROMPT
from core.errors import PerennialError
from core.secrecy import hide_environment
from core.settings import Settings
from core.use_cases.access.keys import make_key, revoke_other_keys

EPILOG = (
    "Every setting is read from the environment as PERENNIAL_<NAME>: PERENNIAL_HOME (where data "
    "is kept, default ./var), PERENNIAL_ADMIN_KEY, PERENNIAL_DATABASE_URL, PERENNIAL_DEVICE; "
    "core/settings.py lists them all."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    bootstrap.keep_private()
    chosen = _parser().parse_args(arguments)
    hide_environment()
    logs.configure(Settings(), process="api" if chosen.run is _serve else "command")
    try:
        return int(chosen.run(chosen))
    except PerennialError as error:
        print(f"perennial: {error.message}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="perennial",
        description="Keep a CLIP model learning new classes without forgetting the rest.",
        epilog=EPILOG,
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    serve = commands.add_parser(
        "serve",
        help="run the service",
        description="Run the API and, embedded, its worker and inference process. Ctrl-C stops "
        "all of them.",
    )
    serve.add_argument("--host", help="address to bind (default: PERENNIAL_HOST or 127.0.0.1)")
    serve.add_argument(
        "--port", type=int, help="port; 0: any free one (default: PERENNIAL_PORT or 8750)"
    )
    serve.set_defaults(run=_serve)

    migrate = commands.add_parser(
        "migrate", help="bring the database to the newest schema; make the S3 bucket if named"
    )
    migrate.set_defaults(run=_migrate)

    suite = commands.add_parser(
        "suite",
        help="make a suite from a folder",
        description="Make a suite from a folder of images: <class>/<image> for zero_shot, or a "
        "captions.jsonl whose lines hold 'path' and 'class', 'caption' or 'captions'. An "
        "interrupted command goes on where it stopped.",
    )
    suite.add_argument("name", help="name of the suite and of the dataset it is made of")
    suite.add_argument("folder", type=Path, help="folder with the images")
    suite.add_argument("--kind", type=SuiteKind, choices=list(SuiteKind), default="zero_shot")
    suite.add_argument("--prompt", default=DEFAULT_PROMPT.text, help="template with one {name}")
    suite.add_argument("--model", help="also score this model by it from now on")
    suite.set_defaults(run=_suite)

    collect = commands.add_parser(
        "gc",
        help="delete the bytes that nobody needs",
        description="Delete the artifacts that no row names and, if asked to, the weights of "
        "versions that nobody needs. Safe beside a running service.",
    )
    gc_command.add_options(collect)
    collect.set_defaults(run=gc_command.run)

    backup_command.add_commands(commands)

    key = commands.add_parser(
        "key",
        help="print a fresh key for PERENNIAL_ADMIN_KEY, or revoke the old ones",
        description="Print a fresh key for PERENNIAL_ADMIN_KEY. Once the service has been started "
        "with it, both it and the keys before it are let in.",
    )
    key.add_argument(
        "--revoke-others",
        action="store_true",
        help="print none; let in the key that PERENNIAL_ADMIN_KEY holds and no other from now on",
    )
    key.set_defaults(run=_key)
    return parser


def _serve(chosen: argparse.Namespace) -> int:
    given = {"host": chosen.host, "port": chosen.port}
    settings = Settings().model_copy(
        update={name: value for name, value in given.items() if value is not None}
    )
    return listening.serve(settings)


def _migrate(_: argparse.Namespace) -> int:
    bootstrap.migrate(Settings())
    print("The database has the newest schema.")
    if bootstrap.make_bucket(Settings()):
        print("The bucket is made.")
    return 0


def _suite(chosen: argparse.Namespace) -> int:
    return suite_command.make_suite(
        Settings(),
        name=chosen.name,
        folder=chosen.folder,
        kind=chosen.kind,
        prompt=chosen.prompt,
        model=chosen.model,
    )


def _key(chosen: argparse.Namespace) -> int:
    if not chosen.revoke_others:
        print(make_key())
        return 0
    settings = Settings()
    require_safe(settings)
    platform = bootstrap.build(settings)
    try:
        print(f"Keys revoked: {revoke_other_keys(platform)}.")
    finally:
        bootstrap.close(platform)
    return 0
