"""Requests that are sent again, and how often."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from starlette.responses import JSONResponse, Response

from perennial import Client, ServiceError, connection
from tests.support.servers.scripted import Script

WORKERS = {"data": [], "has_more": False, "next": None}


def busy(status: int = 503, after: str = "0") -> Response:
    return JSONResponse({"code": "busy"}, status, headers={"Retry-After": after})


@pytest.mark.parametrize("status", [429, 503])
def test_a_get_is_sent_again_after_the_seconds_that_the_reply_names(
    script: Script, scripted_client: Client, status: int
) -> None:
    script.replies = [busy(status), busy(status), JSONResponse(WORKERS)]
    assert scripted_client.workers() == []
    assert script.requests == 3 * [("GET", "/v1/workers")]


def test_a_get_is_sent_three_times_at_most(script: Script, scripted_client: Client) -> None:
    script.replies = [busy()]
    with pytest.raises(ServiceError, match="503 busy"):
        scripted_client.workers()
    assert len(script.requests) == 3


@pytest.mark.parametrize("after", ["3600", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_a_get_does_not_wait_long(script: Script, scripted_client: Client, after: str) -> None:
    script.replies = [busy(after=after)]
    with pytest.raises(ServiceError, match="503 busy"):
        scripted_client.workers()
    assert len(script.requests) == 1


@pytest.mark.parametrize("key", ["k", None])
def test_an_order_is_sent_again_under_the_same_key(
    script: Script, scripted_client: Client, key: str | None
) -> None:
    still = JSONResponse({"code": "in_progress"}, 409)
    script.replies = [busy(), still, JSONResponse({"id": "job_2"})]
    assert scripted_client.jobs.retry("job_1", idempotency_key=key)["id"] == "job_2"
    assert script.requests == 3 * [("POST", "/v1/jobs/job_1/retry")]
    (sent,) = {headers["idempotency-key"] for headers in script.headers}
    assert sent == key or (key is None and len(sent) > 20)


def test_orders_without_a_key_are_different_orders(script: Script, scripted_client: Client) -> None:
    script.replies = [JSONResponse({"id": "job_2"})]
    scripted_client.jobs.retry("job_1")
    scripted_client.jobs.retry("job_1")
    assert len({headers["idempotency-key"] for headers in script.headers}) == 2


def test_what_is_no_order_is_sent_once(script: Script, scripted_client: Client) -> None:
    script.replies = [busy()]
    with pytest.raises(ServiceError, match="503 busy"):
        scripted_client.jobs.cancel("job_1")
    assert len(script.requests) == 1


def test_an_archive_is_sent_once(script: Script, scripted_client: Client, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK")
    script.replies = [busy()]
    with pytest.raises(ServiceError, match="503 busy"):
        scripted_client.datasets.import_images("d", tmp_path / "a.zip", idempotency_key="k")
    assert len(script.requests) == 1


def test_an_order_whose_connection_breaks_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PAUSE_S", 0.0)
    with closing_server(closes=2) as (url, seen), Client(url, "k", trust_env=False) as client:
        assert client.jobs.retry("job_1")["id"] == "job_2"
        with pytest.raises(httpx.TransportError):
            client.jobs.cancel("job_1")
    assert len(seen) == 4


def test_a_reply_that_takes_too_long_is_not_waited_for_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with (
            Client(url, "k", timeout=httpx.Timeout(60, read=0.05), trust_env=False) as client,
            pytest.raises(httpx.ReadTimeout),
        ):
            client.workers()
        listening.accept()[0].close()
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()


@contextmanager
def closing_server(closes: int) -> Iterator[tuple[str, list[bytes]]]:
    """A server that closes its first connections, answers one request and closes the rest."""
    seen: list[bytes] = []
    body = b'{"id": "job_2"}'
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body)

    def answer(listening: socket.socket) -> None:
        while True:
            try:
                taken, _ = listening.accept()
            except OSError:
                return
            with taken:
                seen.append(taken.recv(65536))
                if len(seen) == closes + 1:
                    taken.sendall(reply + body)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=answer, args=(listening,))
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", seen
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_readiness_is_asked_once(script: Script, scripted_client: Client) -> None:
    script.replies = [busy(), JSONResponse({"status": "ok"})]
    assert not scripted_client.is_ready()
    assert scripted_client.is_ready()
    assert script.requests == 2 * [("GET", "/readyz")]
