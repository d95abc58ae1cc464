"""Ports and connections of a server, what it exempts from garbage collection, and how it ends."""

import gc
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from httpx._config import DEFAULT_LIMITS

from api.app import create_app
from api.http.authentication import SESSION_COOKIE
from api.inference_client import client as replicas
from api.server import AnnouncingServer, listen, uvicorn_config, with_free_inference_port
from core.settings import Settings
from devtools.ports import free_port
from tests.support.api.image_files import picture
from tests.support.api.seeds import a_root
from tests.support.api.service import EMBEDDED, running, settings_of
from tests.support.processes import Site, wait_for
from tests.support.servers.server_thread import accepted, in_thread, waits_for_acknowledgement
from worker.inference import server as inference


def test_an_embedded_service_takes_a_free_port_for_inference(tmp_path: Path) -> None:
    ports = {with_free_inference_port(Settings(home=tmp_path)).inference_port for _ in range(3)}
    assert len(ports) > 1
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        settings = Settings(home=tmp_path, inference_port=port)
        assert with_free_inference_port(settings).inference_port != port
    assert with_free_inference_port(settings).inference_port == port
    settings = Settings(home=tmp_path, embedded=False, inference_port=8751)
    assert with_free_inference_port(settings) is settings


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A home whose database has its tables."""
    site = Site(tmp_path, embedded=False, port=free_port())
    yield site
    site.close()


def test_a_service_that_is_told_to_end_does_so_in_order(site: Site) -> None:
    api = site.start("cli", "serve")
    wait_for(lambda: is_alive(site.settings.port), seconds=60)
    api.terminate()
    assert api.wait(60) == 0


@EMBEDDED
def test_the_service_keeps_connections_longer_than_its_clients_do(settings: Settings) -> None:
    # Who closes first must be the client: a request that meets a closing server is reset.
    assert Settings().keep_alive_seconds > 60  # nginx's, for the servers behind it
    assert Settings().keep_alive_seconds > (DEFAULT_LIMITS.keepalive_expiry or 0)  # httpx's
    assert inference.KEEP_ALIVE_S > replicas.KEEP_ALIVE_S
    app = create_app(settings)
    config = uvicorn_config(app, settings.model_copy(update={"keep_alive_seconds": 7}))
    assert config.timeout_keep_alive == 7


@EMBEDDED
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_answer_never_waits_until_the_client_has_acknowledged_the_one_before(
    settings: Settings, host: str
) -> None:
    with (
        listen(host, 0) as bound,
        accepted(
            uvicorn.Server(uvicorn_config(create_app(settings), settings)), bound
        ) as connection,
    ):
        assert not waits_for_acknowledgement(connection)


def is_alive(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(autouse=True)
def unfrozen() -> Iterator[None]:
    """Give the collector everything back, so that no test changes what another one leaves."""
    yield
    gc.unfreeze()


@EMBEDDED
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


@EMBEDDED
def test_the_threads_of_look_ups_end_with_the_application(home: Path) -> None:
    before = threading.enumerate()
    with running(settings_of(home)) as service:
        a_root(service.platform)
        image = ("images", ("a.png", picture(1)))
        service.client.post("/v1/models/demo/classify", files=[image])  # a key and a version
        service.client.get("/ui", headers={"Cookie": f"{SESSION_COOKIE}=nobody"})
        begun = [one for one in threading.enumerate() if one not in before]
        looking_up = [one for one in begun if one.name.startswith("look-ups")]
        assert len(looking_up) == 3
    assert not any(one.is_alive() for one in looking_up)
