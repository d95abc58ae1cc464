"""The command itself: help, completion, verbs of other distributions, and odd ends."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from perennial.commands import main as command
from perennial.commands.main import VERBS, perennial
from perennial.terminal.session import ERROR, INTERRUPTED, USAGE
from tests.support.places import ROOT
from tests.unit.client.commands.conftest import Run


def commands(group: click.Group, *names: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands below a group, each with its words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        if isinstance(found, click.Group):
            yield from commands(found, *names, name)
        else:
            yield (*names, name), found


OURS = [words for words, _ in commands(perennial) if words[0] in VERBS]


@pytest.mark.parametrize("words", OURS, ids=" ".join)
def test_every_verb_explains_itself_with_an_example(run: Run, words: tuple[str, ...]) -> None:
    told = run(*words, "--help").out
    assert told.startswith(f"Usage: perennial {' '.join(words)} ")
    first = told.split("Example:\n")[1].splitlines()[0].split()
    assert first[0] == "perennial"
    assert words[-1] in first[1:3]


def test_every_verb_that_prints_can_print_json() -> None:
    deleting = {("dataset", "delete"), ("model", "delete"), ("trial", "delete-samples")}
    silent = {("login",), ("logout",), ("completion",)} | deleting
    for words, found in commands(perennial):
        if words[0] in VERBS and words not in silent:
            assert "as_json" in {parameter.name for parameter in found.params}, words


def test_the_list_of_verbs_fits_a_narrow_terminal(run: Run) -> None:
    told = run("--help").out
    assert max(map(len, told.splitlines())) <= 80
    summaries = [line for line in told.splitlines() if line.startswith("  ")]
    assert not [line for line in summaries if line.endswith("...")]


def test_another_distribution_adds_a_verb(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "greeting-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: greeting\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[perennial.commands]\ngreet = greeting:greet\n")
    (tmp_path / "greeting.py").write_text(
        "import click\n\n@click.command()\ndef greet():\n    'Greet.'\n"
        "    click.echo('Hello.')\n    return 7\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    ended = run("greet")
    assert (ended.code, ended.out) == (7, "Hello.\n")
    assert "greet    Greet.\n" in run("--help").out


def test_an_unknown_verb_and_an_odd_end_have_their_codes(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert run("nonsense").code == USAGE
    assert run("jobs").code == USAGE
    for raised, code, told in (
        (KeyboardInterrupt(), INTERRUPTED, ""),
        (PermissionError(13, "Permission denied", "x.tar"), ERROR, "x.tar: Permission denied"),
        (BrokenPipeError(), ERROR, ""),
    ):

        @click.command()
        def odd(raised: BaseException = raised) -> None:
            raise raised

        monkeypatch.setitem(VERBS, "odd", f"{__name__}:odd")
        monkeypatch.setattr(command, "resolve_name", lambda _, found=odd: found)
        with monkeypatch.context() as quiet:
            quiet.setattr(sys, "stdout", sys.stdout)
            ended = run("odd")
        assert (ended.code, told in ended.err) == (code, True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_verbs(run: Run, shell: str) -> None:
    assert "_PERENNIAL_COMPLETE" in run("completion", shell).out


def test_completion_knows_the_verbs() -> None:
    asked = {
        "_PERENNIAL_COMPLETE": "bash_complete",
        "COMP_WORDS": "perennial da",
        "COMP_CWORD": "1",
    }
    run = subprocess.run(
        [sys.executable, "-m", "perennial"],
        env=os.environ | asked,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout == "plain,dataset\n"
