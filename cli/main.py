"""The operators' commands by themselves, for `python -m cli`.

`perennial` itself is a command of the client's distribution, and finds these by the entry points
that pyproject.toml names.
"""

from collections.abc import Sequence

import click

from cli.backup_command import backup, restore
from cli.operations import gc, key, migrate
from cli.serve_command import serve

operators = click.Group(
    "perennial",
    commands=[serve, migrate, gc, backup, restore, key],
    help="Run and maintain the service that teaches CLIP models without forgetting.",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    try:
        code = operators.main(arguments, prog_name="perennial", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 130
    return code if isinstance(code, int) else 0
