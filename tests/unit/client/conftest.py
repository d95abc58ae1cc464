"""Clients of a whole service on SQLite, and of a server that replies as it is told."""

from collections.abc import Iterator

import pytest

from perennial import Client
from tests.support.api.served import Served, serving
from tests.support.api.service import settings_of
from tests.support.servers.scripted import Script, scripted


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A running service, which the tests of a file share."""
    with serving(settings_of(tmp_path_factory.mktemp("home"), migrate_on_start=True)) as found:
        yield found


@pytest.fixture
def script() -> Iterator[Script]:
    """A server that replies as the test tells it to."""
    with scripted() as found:
        yield found


@pytest.fixture
def scripted_client(script: Script) -> Iterator[Client]:
    """A client of that server."""
    with Client(script.url, "pk_any", trust_env=False) as client:
        yield client
