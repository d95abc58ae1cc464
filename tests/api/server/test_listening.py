"""Ports and connections of a server, and how it ends."""

import socket
from pathlib import Path

from httpx._config import DEFAULT_LIMITS

from api.app import create_app
from api.inference_client import client as replicas
from api.server import uvicorn_config, with_free_inference_port
from core.settings import Settings
from tests.support.api.service import EMBEDDED
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


@EMBEDDED
def test_the_service_keeps_connections_longer_than_its_clients_do(settings: Settings) -> None:
    # Who closes first must be the client: a request that meets a closing server is reset.
    assert Settings().keep_alive_seconds > 60  # nginx's, for the servers behind it
    assert Settings().keep_alive_seconds > (DEFAULT_LIMITS.keepalive_expiry or 0)  # httpx's
    assert inference.KEEP_ALIVE_S > replicas.KEEP_ALIVE_S
    app = create_app(settings)
    config = uvicorn_config(app, settings.model_copy(update={"keep_alive_seconds": 7}))
    assert config.timeout_keep_alive == 7
