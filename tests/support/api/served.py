"""A service behind a port, with a client that has its key."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn

from api.app import create_app
from api.server import listen, uvicorn_config
from core.bootstrap import opened
from core.platform import Platform
from core.settings import Settings
from perennial.client import Client
from tests.support.servers.answering import in_thread


@dataclass(frozen=True, kw_only=True)
class Served:
    """The service's URL, the platform below it, and a client."""

    url: str
    platform: Platform
    client: Client


@contextmanager
def serving(settings: Settings) -> Iterator[Served]:
    """Serve within the context, without a worker."""
    app = create_app(settings)
    server = uvicorn.Server(uvicorn_config(app, settings))
    with listen("127.0.0.1", 0) as bound, in_thread(server, bound) as url:
        key = settings.admin_key.get_secret_value()
        with opened(settings) as platform, Client(url, key, trust_env=False) as client:
            yield Served(url=url, platform=platform, client=client)
