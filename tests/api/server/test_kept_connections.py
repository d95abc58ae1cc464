"""Connections that clients keep: after an error of the service, and after an early refusal."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import httpx
import pytest

from core.registry.versions import Model
from tests.support.api.seeds import a_root
from tests.support.api.served import Served, serving
from tests.support.api.service import KEY, settings_of

KEYED = {"Authorization": f"Bearer {KEY}"}

JSON, ZIP = {"Content-Type": "application/json"}, {"Content-Type": "application/zip"}

FORM = {"Content-Type": "application/x-www-form-urlencoded"}

LARGE = b" " * 8_000_000  # more than the sockets hold while the server reads nothing


@pytest.fixture(scope="module")
def served(migrated_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that takes small bodies alone."""
    home = tmp_path_factory.mktemp("kept") / "home"
    shutil.copytree(migrated_home, home)
    with serving(settings_of(home, max_json_bytes=1000, max_body_bytes=2000)) as found:
        yield found


@pytest.fixture(scope="module")
def model(served: Served) -> Model:
    """The model `demo`, which has one job."""
    return a_root(served.platform)


@pytest.fixture
def client(served: Served) -> Iterator[httpx.Client]:
    """A client that keeps its connection."""
    with httpx.Client(base_url=served.url, headers=KEYED, trust_env=False) as found:
        yield found


def connection_of(answer: httpx.Response) -> int:
    """The port of the client's end."""
    port: int = answer.extensions["network_stream"].get_extra_info("client_addr")[1]
    return port


def is_kept(client: httpx.Client, answer: httpx.Response) -> bool:
    """Whether the answer to the next request comes by the same connection; it must come."""
    after = client.get("/healthz")
    assert after.status_code == 200
    return connection_of(after) == connection_of(answer)


FAULTS = [
    ("/ui/sign-in", "api.access.sign_in_pages.page_path", "text/html; charset=utf-8"),
    ("/v1/workers", "api.operations.routes.list_workers", "application/problem+json"),
]


def test_a_fault_of_ours_keeps_the_connection(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path, function, media_type in FAULTS:
        monkeypatch.setattr(function, Mock(side_effect=ZeroDivisionError))
        for _ in range(3):
            answer = client.get(path)
            assert (answer.status_code, answer.headers["content-type"]) == (500, media_type)
            assert "connection" not in answer.headers
            assert is_kept(client, answer)


def test_a_fault_within_an_answer_breaks_it_off(
    client: httpx.Client, served: Served, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> AsyncIterator[bytes]:
        yield b"event: progress\n"
        raise ZeroDivisionError

    monkeypatch.setattr("api.jobs.routes.stream_events", broken)
    (job,) = served.client.jobs.list()
    events = {"Accept": "text/event-stream"}
    with client.stream("GET", f"/v1/jobs/{job['id']}/events", headers=events) as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            answer.read()
    assert client.get("/healthz").status_code == 200


def pieces() -> Iterator[bytes]:
    """A body without a length."""
    for _ in range(80):
        yield LARGE[: len(LARGE) // 80]


@pytest.mark.parametrize(
    ("status", "method", "path", "sent"),
    [
        (401, "POST", "/v1/datasets", {"headers": JSON | {"Authorization": "Bearer pk_no"}}),
        (404, "POST", "/v1/nowhere", {"headers": JSON}),
        (404, "POST", "/v1/datasets/nobody/imports", {"headers": ZIP}),
        (413, "POST", "/v1/datasets", {"headers": JSON}),
        (413, "POST", "/v1/datasets", {"headers": JSON, "content": pieces}),
        (413, "POST", "/v1/models/demo/classify", {"files": {"images": LARGE}}),
        (401, "POST", "/ui/keys", {"headers": FORM}),
    ],
)
def test_a_refusal_before_the_end_of_the_body_keeps_the_connection(
    client: httpx.Client, model: Model, status: int, method: str, path: str, sent: dict[str, Any]
) -> None:
    body = {} if "files" in sent else {"content": LARGE}
    if "content" in sent:
        body = {"content": sent["content"]()}
    answer = client.request(method, path, **sent | body)
    assert answer.status_code == status, answer.text
    assert is_kept(client, answer)
