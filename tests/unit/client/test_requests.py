"""Requests that are sent again, streams that go on, and replies that report an error."""

import json
import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)

from perennial import Client, ServiceError, connection
from tests.support.api.image_files import picture
from tests.support.api.served import Served
from tests.support.servers.scripted import Script


def test_images_and_the_options_that_were_given_are_sent(
    script: Script, scripted_client: Client, tmp_path: Path
) -> None:
    path = tmp_path / "owl.png"
    path.write_bytes(picture(1))
    script.replies = [JSONResponse({"model": "pets", "version": 2, "digest": "d", "data": []})]
    scripted_client.classify("pets@production", [path], ["owl"], prompts=["a {name}", "{name}"])
    scripted_client.embed("pets:2", texts=["an owl"], encoding_format="base64")
    assert script.requests == [
        ("POST", "/v1/models/pets@production/classify"),
        ("POST", "/v1/models/pets:2/embed"),
    ]
    for sent in (b'["owl"]', b'["a {name}", "{name}"]', b'filename="owl.png"'):
        assert sent in script.bodies[0]
    assert b"top_k" not in script.bodies[0]
    assert json.loads(script.bodies[1]) == {"texts": ["an owl"], "encoding_format": "base64"}
    for wrong in ({}, {"images": [], "texts": ["an owl"]}):
        with pytest.raises(ValueError, match="either images or texts"):
            scripted_client.embed("pets", **wrong)


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


@pytest.mark.parametrize(
    ("ask", "after", "sent"),
    [
        (Client.workers, "0", 3),
        (Client.workers, "3600", 1),
        (Client.workers, "Wed, 21 Oct 2026 07:28:00 GMT", 1),
        (lambda client: client.jobs.cancel("job_1"), "0", 1),  # which is no order
    ],
)
def test_a_service_that_stays_busy_is_asked_few_times(
    script: Script, scripted_client: Client, ask: Callable[[Client], object], after: str, sent: int
) -> None:
    script.replies = [busy(after=after)]
    with pytest.raises(ServiceError, match="503 busy"):
        ask(scripted_client)
    assert len(script.requests) == sent


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
    scripted_client.jobs.retry("job_1", idempotency_key=key)
    assert (script.headers[-1]["idempotency-key"] == sent) is (key is not None)


def test_an_archive_is_sent_once(script: Script, scripted_client: Client, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK")
    script.replies = [busy()]
    with pytest.raises(ServiceError, match="503 busy"):
        scripted_client.datasets.import_images("d", tmp_path / "a.zip", idempotency_key="k")
    assert [headers["idempotency-key"] for headers in script.headers] == ["k"]


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


AT = "2026-11-26T17:49:39Z"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause between connections."""
    monkeypatch.setattr(connection, "FIRST_PAUSE_S", 0.0)


def stream(*kinds: str, first: int = 1) -> Response:
    """A stream of events that are numbered from `first`."""
    events = [{"id": first + n, "kind": kind, "data": {}, "at": AT} for n, kind in enumerate(kinds)]
    told = (f"id: {e['id']}\nevent: {e['kind']}\ndata: {json.dumps(e)}\n\n" for e in events)
    return PlainTextResponse(": beat\n\n" + "".join(told), media_type="text/event-stream")


def test_a_stream_goes_on_after_the_last_event(script: Script, scripted_client: Client) -> None:
    busy = JSONResponse({"code": "unavailable"}, 503)
    script.replies = [stream("queued", "claimed"), stream(), busy, stream("done", first=3)]
    events = scripted_client.jobs.watch("job_1")
    assert [(event["id"], event["kind"]) for event in events] == [
        (1, "queued"),
        (2, "claimed"),
        (3, "done"),
    ]
    assert [headers.get("last-event-id") for headers in script.headers] == [None, "2", "2", "2"]
    assert {headers["accept"] for headers in script.headers} == {"text/event-stream"}


def test_a_job_that_ended_without_a_worker_ends_its_stream(
    script: Script, scripted_client: Client
) -> None:
    end = PlainTextResponse('event: done\ndata: {"job": "job_1"}\n\n')
    script.replies = [stream("queued", "cancelled"), end]
    assert len(list(scripted_client.jobs.watch("job_1"))) == 2


def test_six_connections_without_an_event_are_enough(
    script: Script, scripted_client: Client
) -> None:
    script.replies = [stream("queued"), stream()]
    with pytest.raises(httpx.RemoteProtocolError, match="ended before the job"):
        list(scripted_client.jobs.watch("job_1"))
    assert len(script.requests) == 1 + connection.TRIES - 1


def test_an_unknown_job_is_an_error_at_once(script: Script, scripted_client: Client) -> None:
    script.replies = [JSONResponse({"code": "job_not_found"}, 404)]
    with pytest.raises(ServiceError, match="404 job_not_found"):
        list(scripted_client.jobs.watch("job_1"))
    assert len(script.requests) == 1


def refused(script: Script, reply: Response) -> ServiceError:
    """The error that a reply to an order raises."""
    script.replies = [reply]
    with (
        Client(script.url, "pk_any", trust_env=False) as client,
        pytest.raises(ServiceError) as raised,
    ):
        client.jobs.cancel("job_1")
    return raised.value


def test_a_problem_document_is_raised_with_all_that_it_says(served: Served) -> None:
    with pytest.raises(ServiceError, match=r"^422 field_invalid: ") as raised:
        served.client.policies.create("odd", alpha=7.0, reason="a test")
    error = raised.value
    assert (error.status, error.code, error.retryable) == (422, "field_invalid", False)
    assert [line["pointer"] for line in error.errors] == ["/alpha"]
    assert error.request_id.startswith("req_")


def test_facts_are_kept_and_an_error_travels_between_processes(script: Script) -> None:
    body = {"code": "gate_failed", "detail": "No.", "facts": {"a": 1}, "request_id": "req_1"}
    error = refused(script, JSONResponse(body, 409))
    assert (str(error), error.facts) == ("409 gate_failed: No.", {"a": 1})
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), vars(copy)) == (str(error), vars(error))


@pytest.mark.parametrize(
    ("reply", "code", "told"),
    [
        (HTMLResponse("", 413), "content_too_large", ""),
        (Response("?", 599), "unknown_status", "?"),
        (
            HTMLResponse("<h1>Bad\n  gateway</h1>" + 999 * "x", 502),
            "bad_gateway",
            "<h1>Bad gateway",
        ),
        (JSONResponse({"message": "slow down"}, 429), "too_many_requests", "slow down"),
        (RedirectResponse("https://elsewhere.example", 308), "permanent_redirect", "elsewhere"),
        (HTMLResponse("<p>Sign in to this network", 200), "reply_not_json", "Sign in"),
    ],
    ids=lambda given: getattr(given, "status_code", None),
)
def test_what_stands_before_the_service_is_told_by_one_code_on_every_python(
    reply: Response, code: str, told: str, script: Script
) -> None:
    error = refused(script, reply)
    assert (error.status, error.code, error.request_id) == (reply.status_code, code, "")
    assert told in error.detail
    assert len(error.detail) < 400
