"""Which port the inference process of an embedded service gets; how the service ends."""

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from httpx._config import DEFAULT_LIMITS

from api.app import create_app
from api.inference_client import client as replicas
from api.server import listen, uvicorn_config, with_free_inference_port
from core.settings import Settings
from devtools.ports import free_port
from tests.support.api.service import EMBEDDED, settings_of
from tests.support.processes import Site, wait_for
from tests.support.servers.connections import accepted, waits_for_acknowledgement
from worker.inference import server as inference


def test_services_that_start_at_once_get_ports_of_their_own(tmp_path: Path) -> None:
    ports = {with_free_inference_port(Settings(home=tmp_path)).inference_port for _ in range(3)}
    assert len(ports) > 1


def test_a_port_that_is_asked_for_is_taken_unless_it_is_busy(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        settings = Settings(home=tmp_path, inference_port=port)
        assert with_free_inference_port(settings).inference_port != port
    assert with_free_inference_port(settings).inference_port == port


def test_a_service_of_many_machines_keeps_what_it_was_told(tmp_path: Path) -> None:
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
def test_an_idle_connection_stays_open_for_as_long_as_it_may(home: Path) -> None:
    settings = settings_of(home, keep_alive_seconds=7)
    assert uvicorn_config(create_app(settings), settings).timeout_keep_alive == 7


def test_the_service_keeps_connections_longer_than_its_clients_do() -> None:
    # Who closes first must be the client: a request that meets a closing server is reset.
    assert Settings().keep_alive_seconds > 60  # nginx's, for the servers behind it
    assert Settings().keep_alive_seconds > (DEFAULT_LIMITS.keepalive_expiry or 0)  # httpx's
    assert inference.KEEP_ALIVE_S > replicas.KEEP_ALIVE_S


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
