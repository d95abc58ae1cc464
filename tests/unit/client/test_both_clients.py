"""The asynchronous client, and the synchronous one that is written from it."""

import inspect
from collections.abc import Iterator
from typing import Any

from devtools.sync_client import written
from perennial import AsyncClient, Client


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


def test_the_synchronous_client_is_as_written() -> None:
    modules = list(written())
    assert len(modules) > 5
    for path, text in modules:
        assert path.read_text("utf-8") == text, "python -m devtools.sync_client"
