"""The arguments and options that several commands take, and the versions that they name."""

import json
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import click

from perennial.client import Client
from perennial.terminal.session import GATE, Failure

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW_FOLDER = click.Path(file_okay=False, writable=True, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, writable=True, path_type=Path)
BUCKET = "s3://"


def source(text: str) -> Path | str:
    """Return the path of a file or folder, or the address of a bucket. Raises BadParameter."""
    if text.startswith(BUCKET):
        return text
    if not Path(text).exists():
        raise click.BadParameter(f"{text} does not exist")
    return Path(text)


def version_argument(
    metavar: str = "MODEL:VERSION", *, count: int = 1, bare: bool = True
) -> Callable[[Any], Any]:
    """Return the argument `named`: versions as `demo:4` each, which may be written `demo 4`.

    With `bare`, a name alone is one as well. A name before several numbers belongs to all of them.
    """

    def written_out(_: click.Context, __: click.Parameter, words: tuple[str, ...]) -> Any:
        name = re.split("[:@]", words[0])[0]
        rest = words[1:] if len(words) == count + 1 and words[0] == name else words
        found = [rest[0], *(f"{name}:{word}" if word.isdecimal() else word for word in rest[1:])]
        if len(rest) < len(words):
            found[0] = f"{name}:{rest[0]}"
        shown = (f"{name}:{number}" for number in range(1, count + 1))
        if len(found) != count or not (bare or re.search("[:@]", found[0])):
            raise click.BadParameter(f"give {metavar}, as in `{' '.join(shown)}`")
        return found[0] if count == 1 else tuple(found)

    return click.argument("named", nargs=-1, required=True, metavar=metavar, callback=written_out)


def number_of(name: str, version: str) -> int:
    """Return the number of a version written `demo:4` or `4`. Raises UsageError for another's."""
    its, _, number = version.rpartition(":")
    if its not in {"", name} or not (number.isascii() and number.isdecimal()):
        raise click.UsageError(f"{version} is no version of {name}: write {name}:4.")
    return int(number)


def find_version(client: Client, reference: str) -> tuple[str, int]:
    """Return model and number of a reference. Raises Failure for one that means no version."""
    name, _, place = reference.partition("@")
    if place.startswith("sha256:"):
        digest = place.removeprefix("sha256:")
        found = [one["version"] for one in client.versions.list(name) if one["digest"] == digest]
        if not found:
            raise Failure(f"No version of {name} has the digest {digest}.")
        return name, max(found)
    name, colon, number = name.partition(":")
    if not colon:
        return name, client.aliases.get(name, place or "production")["version"]
    if place or not number.isascii() or not number.isdecimal():
        raise Failure(f"{reference} means no version: name it as model, model@alias or model:7.")
    return name, int(number)


def find_dataset_version(client: Client, reference: str) -> tuple[str, int]:
    """Return name and number of a dataset's version: `products:2`, or the newest of `products`.

    Raises Failure if it has none.
    """
    name, colon, _ = reference.partition(":")
    if colon:
        return name, number_of(name, reference)
    numbers = [version["number"] for version in client.datasets.versions(name)]
    if not numbers:
        raise Failure(f"The dataset {name} has no version: run `perennial dataset freeze {name}`.")
    return name, numbers[-1]


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
    help="Recipe fields that differ from the model's default, such as '{\"epochs\": 3}', or @FILE.",
)

force_option = click.option(
    "--force", is_flag=True, default=None, help="Allow a learning rate far above the default."
)

alias_option = click.option(
    "--alias", default="production", show_default=True, help="Alias to look at or to move."
)

trial_option = click.option(
    "--trial", default="latest", show_default=True, metavar="ID", help="Which trial of the alias."
)

wait_option = click.option("--wait", is_flag=True, help="Wait until the job has ended.")

gate_option = click.option(
    "--fail-on-gate",
    is_flag=True,
    help=f"Exit with {GATE} unless the gate passed the version.",
)


def time(text: str) -> datetime:
    """Return a time, in this machine's time zone unless it names another. Raises BadParameter."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as error:
        raise click.BadParameter("give a time as in 2026-11-26 or 2026-11-26T09:30") from error


def filter_options(filters: type, **short: str) -> Callable[[Any], Any]:
    """Return what gives a command an option for each filter of a list, None if it is not given.

    `filters` is a TypedDict of `perennial.types`; `short` are further, short names of options.
    """

    def add(command: Any) -> Any:
        for name, hint in reversed(get_type_hints(filters, include_extras=True).items()):
            described = get_origin(hint) is Annotated
            kind, about = get_args(hint) if described else (hint, None)
            names = [f"--{name.replace('_', '-')}", *filter(None, [short.get(name)]), name]
            command = click.option(*names, type=_option_type(kind), help=about)(command)
        return command

    return add


def _option_type(kind: Any) -> Any:
    """Return the type of the option of a filter, which is one of several types, or None."""
    kinds = get_args(kind)
    if datetime in kinds:
        return time
    values = [value for one in kinds if get_origin(one) is Literal for value in get_args(one)]
    return click.Choice(values) if values else int if int in kinds else str


def example(*lines: str) -> str:
    """Return the examples of a command as the end of its help."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)
