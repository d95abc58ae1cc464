"""Objects of a server that has started are exempt from garbage collection."""

import gc
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api.app import create_app
from api.server import AnnouncingServer, listen, uvicorn_config
from tests.support.api.service import EMBEDDED, settings_of
from tests.support.servers.server_thread import in_thread

pytestmark = EMBEDDED


@pytest.fixture(autouse=True)
def unfrozen() -> Iterator[None]:
    """Give the collector everything back, so that no test changes what another one leaves."""
    yield
    gc.unfreeze()


def test_what_is_there_when_it_begins_to_serve_is_not_searched_for_garbage(home: Path) -> None:
    settings = settings_of(home)
    app = create_app(settings)
    gc.unfreeze()
    with listen("127.0.0.1", 0) as bound:
        server = AnnouncingServer(app, address="", config=uvicorn_config(app, settings))
        with in_thread(server, bound) as url:
            assert httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
            assert gc.get_freeze_count() > 0
            searched = {id(found) for found in gc.get_objects()}
            assert not searched & {id(app), id(app.router.routes)}
