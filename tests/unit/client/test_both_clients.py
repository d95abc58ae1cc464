"""The asynchronous client, and the synchronous one that is written from it."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from building.reply_types import TYPES
from building.sync_client import write, written
from perennial import AsyncClient, Client
from tests.support.places import ROOT, is_ignored


def methods(client: Any) -> Iterator[tuple[str, str]]:
    """The names of a client's methods and those of its resources, with their parameters."""
    for name, found in inspect.getmembers(client):
        if not name.startswith("_") and callable(found):
            parameters = inspect.signature(found).parameters
            yield name, ", ".join(str(parameter) for parameter in parameters.values())
    for name, resource in vars(client).items():
        if not name.startswith("_"):
            yield from ((f"{name}.{verb}", text) for verb, text in methods(resource))


def test_both_clients_have_the_same_methods() -> None:
    found = list(methods(AsyncClient("http://127.0.0.1:1", "pk_any")))
    assert found == list(methods(Client("http://127.0.0.1:1", "pk_any")))
    assert len(found) > 60


def test_git_ignores_all_that_is_written() -> None:
    paths = [TYPES, *(path for path, _ in written())]
    modules = [path.relative_to(ROOT).as_posix() for path in paths]
    assert modules[1:]
    assert [name for name in modules if not is_ignored(name)] == []


def test_what_is_written_follows_its_source(tmp_path: Path) -> None:
    source, module = tmp_path / "aio/resources/any.py", tmp_path / "resources/any.py"
    source.parent.mkdir(parents=True)
    for verb in ("get", "find"):
        source.write_text(f"async def {verb}() -> None:\n    await any()\n")
        write(tmp_path)
        assert module.read_text().endswith(f".\ndef {verb}() -> None:\n    any()\n")
    written_at = module.stat().st_mtime_ns
    write(tmp_path)
    assert module.stat().st_mtime_ns == written_at
    source.unlink()
    write(tmp_path)
    assert not module.exists()
