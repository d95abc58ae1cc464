"""Commands on the pages of the documentation: all that there are, and no other."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import click
import pytest

from perennial.commands.main import VERBS, perennial
from tests.support.places import ROOT

DOCS = [*sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs/how-to").glob("*.md"))]
PAGES = [ROOT / "README.md", ROOT / "client/README.md", *DOCS]
BLOCK = re.compile(r"^```sh\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
LINE = re.compile(r"(?:^|\.venv/bin/)perennial ([a-z-]+ ?.*)")
REDIRECTION = re.compile(r"\s(?:[<>|]|2>&1).*|\)$")


def lines() -> Iterator[Any]:
    """Every command in a shell block of a page."""
    for page in PAGES:
        for block in BLOCK.findall(page.read_text("utf-8")):
            for line in block.splitlines():
                if found := LINE.search(line):
                    words = shlex.split(REDIRECTION.sub("", found[1]), comments=True)
                    yield pytest.param(words, id=f"{page.stem}: {' '.join(words)}")


@pytest.mark.parametrize("words", list(lines()))
def test_a_command_on_a_page_is_one_that_there_is(words: list[str]) -> None:
    context, command = click.Context(perennial), perennial.get_command(None, words[0])  # type: ignore[arg-type]
    rest = words[1:]
    while isinstance(command, click.Group):
        command, rest = command.get_command(context, rest[0]), rest[1:]
    assert command is not None, words
    inner = click.Context(command)
    given, left, _ = command.make_parser(inner).parse_args(rest)  # fails for unknown options
    assert left == []
    for parameter in command.params:
        assert given.get(parameter.name) or not parameter.required, parameter.name


def test_the_page_of_commands_has_all_of_them_and_no_other() -> None:
    page = (ROOT / "docs/commands.md").read_text("utf-8")
    rows = re.findall(r"^\| (`[a-z`, -]+`) \|", page, flags=re.MULTILINE)
    told = {name for row in rows for name in re.findall(r"`([\w-]+)`", row)}
    assert told == VERBS.keys()
    for name in perennial.list_commands(click.Context(perennial)):
        assert f"`{name}`" in page, name
