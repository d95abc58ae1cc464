"""Types of arguments that several commands take."""

import json
from pathlib import Path
from typing import Any

import click

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
BUCKET = "s3://"
NEW_FOLDER = click.Path(file_okay=False, writable=True, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, writable=True, path_type=Path)


def source(text: str) -> Path | str:
    """Return the path of a file or folder, or the address of a bucket. Raises BadParameter."""
    if text.startswith(BUCKET):
        return text
    if not Path(text).exists():
        raise click.BadParameter(f"{text} does not exist")
    return Path(text)


def json_object(text: str) -> dict[str, Any]:
    """Return a JSON object, or that of a file as `@FILE`. Raises BadParameter."""
    try:
        found = json.loads(Path(text[1:]).read_text("utf-8") if text.startswith("@") else text)
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"not JSON: {error}") from error
    if not isinstance(found, dict):
        raise click.BadParameter("not a JSON object")
    return found


recipe_option = click.option(
    "--recipe",
    type=json_object,
    metavar="JSON",
    help="Recipe fields that differ from the defaults, such as '{\"epochs\": 3}', or @FILE.",
)
alias_option = click.option(
    "--alias", default="production", show_default=True, help="Alias to look at or to move."
)
trial_option = click.option(
    "--trial", default="latest", show_default=True, metavar="ID", help="Which trial of the alias."
)


def example(*lines: str) -> str:
    """Return the examples of a command as the end of its help."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)
