"""The command itself: help, verbs of other distributions, and odd ends."""

import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest

from perennial.commands.main import VERBS, perennial
from perennial.errors import ServiceError
from perennial.terminal.arguments import time
from perennial.terminal.session import ERROR, INTERRUPTED, USAGE, explained
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


GROUPS = sorted({words[:-1] for words in OURS})


@pytest.mark.parametrize("words", GROUPS, ids=lambda words: " ".join(words) or "all")
def test_no_verb_is_cut_where_it_is_listed(run: Run, words: tuple[str, ...]) -> None:
    usage, *listed = run(*words, "--help").out.splitlines()
    assert usage.endswith("COMMAND [ARGS]...")
    assert [line for line in listed if line.endswith("...")] == []


def test_every_verb_that_prints_can_print_json() -> None:
    deleting = {("dataset", "delete"), ("model", "delete"), ("trial", "delete-samples")}
    deleting |= {("suite", "retire"), ("index", "delete")}
    silent = {("login",), ("logout",), ("completion",), ("mcp",)} | deleting
    for words, found in commands(perennial):
        if words[0] in VERBS and words not in silent:
            assert "as_json" in {parameter.name for parameter in found.params}, words


def test_every_filter_of_jobs_is_an_option() -> None:
    document = json.loads((ROOT / "docs" / "openapi.json").read_text("utf-8"))
    asked = document["paths"]["/v1/jobs"]["get"]["parameters"]
    filters = {one["name"] for one in asked if one["in"] == "query"} - {"limit", "after"}
    options = dict(commands(perennial))[("job", "list")].params
    assert {one.name for one in options} == filters | {"limit", "as_json"}


def test_a_time_that_names_no_zone_is_that_of_the_machine() -> None:
    assert time("2026-11-26T09:30:00+01:00") == datetime(2026, 11, 26, 8, 30, tzinfo=UTC)
    assert time("2026-11-26") == datetime(2026, 11, 26).astimezone()
    with pytest.raises(click.BadParameter, match="2026-11-26T09:30"):
        time("yesterday")


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
    assert run("job").code == USAGE
    assert "Did you mean 'classify'?" in run("clasify").err
    assert "Did you mean 'migrate'?" in run("migrat").err  # of the service's distribution
    assert run("jobs", "list", "--help").out == run("job", "list", "--help").out.replace(
        "perennial job list [", "perennial jobs list ["
    )
    for raised, code, told in (
        (KeyboardInterrupt(), INTERRUPTED, ""),
        (PermissionError(13, "Permission denied", "x.tar"), ERROR, "x.tar: Permission denied"),
        (BrokenPipeError(), ERROR, ""),
    ):

        @click.command()
        def odd(raised: BaseException = raised) -> None:
            raise raised

        monkeypatch.setitem(VERBS, "odd", odd)
        with monkeypatch.context() as quiet:
            quiet.setattr(sys, "stdout", sys.stdout)
            ended = run("odd")
        assert (ended.code, told in ended.err) == (code, True)


def test_the_page_of_commands_has_all_of_them_and_no_other() -> None:
    page = (ROOT / "docs/commands.md").read_text("utf-8")
    rows = re.findall(r"^\| (`[a-z`, -]+`) \|", page, flags=re.MULTILINE)
    told = {name for row in rows for name in re.findall(r"`([\w-]+)`", row)}
    assert told == VERBS.keys()
    for name in perennial.list_commands(click.Context(perennial)):
        assert f"`{name}`" in page, name


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            ServiceError(
                409,
                "evaluation_stale",
                "It is stale.",
                {"score_again": {"model": "demo", "version": 3, "alias": "staging"}},
            ),
            "It is stale.\nScore it again with `perennial evaluate demo:3 --alias staging --wait`.",
        ),
        (ServiceError(409, "evaluation_stale", "Roll back."), "Roll back."),
        (
            ServiceError(500, "internal", "Broken.", request_id="req_1"),
            "Broken.\nThe service's log has more under req_1.",
        ),
        (ServiceError(503, "inference_busy", "Busy.", request_id="req_1"), "Busy."),
    ],
    ids=["score_again", "no_use", "fault", "busy"],
)
def test_a_refusal_says_what_helps(error: ServiceError, said: str) -> None:
    assert explained(error, "http://service").message == said
