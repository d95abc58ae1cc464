"""`perennial index`, on a real PostgreSQL with pgvector."""

import json
import logging
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from core.gate.rules import Verdict
from core.registry.rows import Models
from core.values import sha256
from perennial.requests import ImageFile
from perennial.terminal.session import ERROR, USAGE
from tests.support.api.image_files import picture
from tests.support.api.seeds import a_candidate
from tests.support.learning.tiny_tools import vector
from tests.support.places import ROOT
from tests.support.processes import EXIT_S, wait_for
from tests.support.servers.answering import QuietHandler, answering
from tests.unit.client.commands.conftest import Run, Shop, Site, rows


@pytest.fixture
def at(address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PERENNIAL_INDEX_TABLE", address)
    return address


def test_an_index_is_created_moved_searched_and_deleted_by_commands(
    shop: Shop, perennial: Run, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        shop.site.oracle, "vectors", lambda digest, data: vector(digest, sha256(data))
    )
    model = ("--model", shop.name)
    perennial("index", "delete", shop.name, *model, "--yes")
    made = perennial("index", "create", shop.name, *model, "--dataset", shop.name)
    assert rows(made.out, 6) == [["1", "live", "embedded", "", "6", "6"]], made.err
    version = shop.child()
    refused = perennial("promote", f"{shop.name}:{version}")
    assert (refused.code, f"perennial index move {shop.name}" in refused.err) == (ERROR, True)
    moved = perennial("index", "move", shop.name, f"{shop.name}:{version}")
    assert rows(moved.out, 2) == [["1", "retired"], [str(version), "live"]], moved.err
    assert perennial("rollback", shop.name, "--reason", "worse").code == 0
    synced = perennial("index", "sync", shop.name, *model)
    assert rows(synced.out, 2) == [["1", "live"], [str(version), "retired"]], synced.err
    asked = ("--text", "a cat", "--limit", 2, "--ef-search", 400)
    found = perennial("index", "search", shop.name, *model, *asked)
    assert "by version 1, digest " in found.out
    assert len(rows(found.out, 1)) == 2
    assert rows(perennial("index", "list", *model).out, 2) == [[shop.name, "pgvector"]]
    assert perennial("index", "show", shop.name, *model).out == synced.out
    assert perennial("index", "delete", shop.name, *model, "--yes").code == 0
    assert perennial("promote", f"{shop.name}:{version}", "--reason", "free").code == 0


def killed(*words: str, once: Callable[[], Any]) -> None:
    """Start a command in a process, and send it SIGKILL once something has happened."""
    process = subprocess.Popen([sys.executable, "-m", "perennial", *words])
    try:
        wait_for(lambda: process.poll() is not None or once(), seconds=EXIT_S)
        assert process.poll() is None, "it has ended"
    finally:
        process.kill()
        process.wait()


def test_the_next_process_finishes_what_a_killed_one_has_begun(
    shop: Shop, perennial: Run, at: str
) -> None:
    """Killed after one of six rows, and after the alias has moved and the store has not."""
    model = ("--model", shop.name)
    perennial("index", "sync", shop.name, *model)
    version = shop.child()
    table, move = f"{shop.name}_v{version}", ("index", "move", shop.name, f"{shop.name}:{version}")

    def stored() -> list[Any]:
        there = shop.sql(f"SELECT 1 FROM pg_class WHERE relname = '{table}'")
        return there and shop.sql(f'SELECT id FROM "{table}"')

    killed(*move, "--rate", "0.001", once=stored)  # the second row comes after a quarter of an hour
    assert len(stored()) == 1
    shop.require_true(1)
    assert shop.client.aliases.get(shop.name)["version"] == 1
    with psycopg.connect(at) as reader:  # a long search, which the switch waits for
        reader.execute(f'SELECT id FROM "{shop.name}"'.encode())
        killed(*move, once=lambda: shop.sql("SELECT 1 FROM pg_locks WHERE NOT granted"))
        shop.require_true(1)
    assert shop.client.aliases.get(shop.name)["version"] == version
    assert [name for (name,) in sorted(stored())] == sorted(shop.expected(version))
    ended = perennial("index", "sync", shop.name, *model)
    assert rows(ended.out, 2) == [["1", "retired"], [str(version), "live"]], ended.err
    shop.require_true(version)


def test_files_are_indexed_by_their_paths_and_unreadable_ones_left_out(
    shop: Shop, perennial: Run, at: str, tmp_path: Path
) -> None:
    folder, name = tmp_path / "images", f"{shop.name}-files"
    (folder / "new").mkdir(parents=True)
    for number, place in enumerate(("a.png", "new/b.png", "new/c.png")):
        (folder / place).write_bytes(picture(number))
    (folder / "notes.txt").write_text("no image")
    create = ("index", "create", name, "--model", shop.name, "--files", folder)
    ended = perennial(*create)
    assert rows(ended.out, 6)[-1] == ["1", "live", "embedded", "", "3", "3"], ended.err
    assert "notes.txt is left out" in ended.err
    (folder / "a.png").unlink()
    (folder / "new/b.png").write_bytes(picture(7))
    perennial("index", "sync", name, "--model", shop.name, "--files", folder)
    digests = {sha256((folder / place).read_bytes()) for place in ("new/b.png", "new/c.png")}
    assert {row[0] for row in shop.sql(f'SELECT source FROM "{name}_v1"')} == digests


def test_the_commands_of_the_guide_do_what_it_says(
    site: Site, perennial: Run, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site.oracle, "vectors", lambda digest, data: vector(digest, sha256(data)))
    with site.platform.transactions(read_only=True) as work:
        model = work[Models].get("demo")
    a_candidate(site.platform, model, verdict=Verdict.PASSED)
    images = [("bag", ImageFile(file_name="a.png", data=picture(n))) for n in range(3)]
    site.client.datasets.create("products")
    site.client.datasets.upload("products", images)
    site.client.datasets.freeze("products")
    page = (ROOT / "docs/how-to/vector-index.md").read_text("utf-8")
    lines = re.findall(r"^perennial (.*)$", page, flags=re.MULTILINE)
    assert len(lines) >= 8
    for line in lines:
        ended = perennial(*shlex.split(line))
        assert ended.code == 0, f"{line}\n{ended.err}"


SECRET = "hunter2-of-the-index"


def test_a_password_stays_out_of_arguments_replies_audit_and_messages(
    shop: Shop, perennial: Run
) -> None:
    sync = ("index", "sync", shop.name, "--model", shop.name)
    for address in (
        f"postgresql://u:{SECRET}@localhost/db",
        f"postgresql://localhost/db?password={SECRET}",
        f"host=localhost password={SECRET}",
        f"postgresql://u:{SECRET}@[/db",
    ):
        ended = perennial(*sync, "--table", address)
        assert (ended.code, SECRET in ended.out + ended.err) == (USAGE, False)


def test_a_password_of_the_environment_is_shown_nowhere(
    shop: Shop,
    perennial: Run,
    address: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("PGPASSWORD", SECRET)
    sync = ("index", "sync", shop.name, "--model", shop.name)
    done = perennial(*sync, "--table", address)
    assert done.code == 0, done.err
    told = done.out + done.err
    for wrong in (f"postgresql://u:{SECRET}@[/db", f"postgresql://u:{SECRET}@127.0.0.1:1/db"):
        monkeypatch.setenv("PERENNIAL_INDEX_TABLE", wrong)
        failed = perennial(*sync)
        assert failed.code == ERROR
        told += failed.out + failed.err
    told += shop.site.told() + json.dumps(shop.client.indexes.list(shop.name)) + caplog.text
    assert SECRET not in told
    assert shop.address not in told


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure", "ignore:Failed to obtain")
def test_a_key_of_qdrant_is_shown_nowhere(
    shop: Shop, perennial: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is the address of its server, which is sent the key and refuses every request."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("QDRANT_API_KEY", SECRET)
    name, sent = f"{shop.name}-qdrant", set()

    class Refusing(QuietHandler):
        def do_GET(self) -> None:
            sent.add(self.headers["api-key"])
            self.send_error(403)

    with answering(Refusing) as url:
        words = ("--model", shop.name, "--dataset", shop.name, "--qdrant", url)
        failed = perennial("index", "create", name, *words)
    assert (failed.code, sent) == (ERROR, {SECRET}), failed.err
    told = failed.out + failed.err + shop.site.told() + caplog.text
    assert name in told
    assert SECRET not in told
    assert url not in shop.site.told()
