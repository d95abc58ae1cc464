"""The command line: `perennial` and its commands."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from api.server import listening
from api.startup_checks import require_safe
from cli import (
    advise_command,
    backup_command,
    erase_command,
    gc_command,
    import_command,
    suite_command,
)
from core import bootstrap, logs
from core.domain.access.principal import COMMAND_LINE
from core.domain.datasets.suite import SuiteKind
from core.domain.recipes.prompt import DEFAULT_PROMPT
from core.errors import PerennialError
from core.secrecy import hide_environment
from core.settings import Settings
from core.use_cases.access.authenticate import make_key
from core.use_cases.access.bootstrap_keys import revoke_other_keys

EPILOG = (
    "Settings are read from environment variables PERENNIAL_<NAME>, such as PERENNIAL_HOME (the "
    "data folder, default ./var), PERENNIAL_ADMIN_KEY, PERENNIAL_DATABASE_URL and "
    "PERENNIAL_DEVICE; docs/operations.md lists them all."
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
        description="Teach CLIP models new classes without forgetting the old ones.",
        epilog=EPILOG,
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    serve = commands.add_parser(
        "serve",
        help="run the service",
        description="Run the API and, in embedded mode, also a worker and the inference process. "
        "Ctrl-C stops all of them.",
    )
    serve.add_argument("--host", help="address to bind (default: PERENNIAL_HOST or 127.0.0.1)")
    serve.add_argument(
        "--port", type=int, help="port; 0: any free port (default: PERENNIAL_PORT or 8750)"
    )
    serve.set_defaults(run=_serve)

    about = "upgrade the database to the newest schema and create the S3 bucket, if one is set"
    migrate = commands.add_parser(
        "migrate", help=about, description=f"{about[0].upper()}{about[1:]}."
    )
    migrate.set_defaults(run=_migrate)

    suite = commands.add_parser(
        "suite",
        help="create a suite from a folder of images",
        description="Create a suite from a folder of images: <class>/<image> for zero_shot, or a "
        "captions.jsonl whose lines have 'path' and one of 'class', 'caption' and 'captions'. "
        "If it is interrupted, the same command continues where it stopped.",
    )
    suite.add_argument("name", help="name of the suite and of its dataset")
    suite.add_argument("folder", type=Path, help="folder with the images")
    suite.add_argument(
        "--kind",
        type=SuiteKind,
        choices=list(SuiteKind),
        default="zero_shot",
        help="what the suite measures (default: zero_shot)",
    )
    suite.add_argument(
        "--prompt", default=DEFAULT_PROMPT.text, help="prompt template with one {name}"
    )
    suite.add_argument("--model", help="add the suite to this model, for all later evaluations")
    suite.set_defaults(run=_suite)

    collect = commands.add_parser(
        "gc",
        help="delete unreferenced artifacts",
        description="Delete the artifacts that no row of the database refers to. If --keep-last "
        "is given, also delete the weights of old versions. Safe while the service runs.",
    )
    gc_command.add_options(collect)
    collect.set_defaults(run=gc_command.run)

    import_command.add_command(commands)
    advise_command.add_command(commands)
    erase_command.add_commands(commands)
    backup_command.add_commands(commands)

    key = commands.add_parser(
        "key",
        help="print a new key for PERENNIAL_ADMIN_KEY, or revoke the old ones",
        description="Print a new key for PERENNIAL_ADMIN_KEY. Once the service has been started "
        "with it, both it and the earlier keys are accepted.",
    )
    key.add_argument(
        "--revoke-others",
        action="store_true",
        help="print no key; revoke all keys except the one in PERENNIAL_ADMIN_KEY",
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
    print("The database schema is up to date.")
    if bootstrap.make_bucket(Settings()):
        print("Created the bucket.")
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
        revoked = revoke_other_keys(platform.on_behalf_of(COMMAND_LINE))
        print(f"Keys revoked: {revoked}.")
    finally:
        bootstrap.close(platform)
    return 0
