"""Sending to real receivers: signatures, TLS, limits, and addresses that are not reached."""

import re
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.server import HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from standardwebhooks import WebhookVerificationError

from core.bootstrap import utc_now
from core.errors import UrlForbidden
from core.outbox.rules import EventType, Message, Outcome, make_secret
from core.webhooks.deliver import HttpWebhookClient, headers_of
from tests.support.places import ROOT
from tests.support.servers.receiver import Receiver, receiving
from tests.support.webhooks import an_http_client


def self_signed(folder: Path, host: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The context of a server that is this host, and that of a client that trusts it."""
    public, private = folder / f"{host}.pem", folder / f"{host}.key"
    command = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1")
    names = ("-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}")
    files = ("-keyout", private, "-out", public)
    subprocess.run([*command, *names, *files], check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(public, private)
    return server, ssl.create_default_context(cafile=str(public))


SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

FORMER = "whsec_YvsSHpaYRdyQ1C2HMtOhq8TeKyqpCHcF"

OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


def a_message(*secrets: str, body: bytes = b'{"type":"webhook.test"}') -> Message:
    return Message(id="evt_1", at=utc_now(), body=body, secrets=secrets or (SECRET,))


def at(*addresses: str) -> Callable[[str, int], Sequence[str]]:
    """A resolver for which every host has these addresses."""
    return lambda host, port: addresses


def code_of(outcome: Outcome) -> str:
    return str(outcome.error["code"])


def test_a_message_arrives_with_its_signature(receiver: Receiver) -> None:
    url = f"{receiver.url};now?by=us"
    assert an_http_client().send(url, a_message(SECRET, FORMER)) == Outcome(response_status=204)
    (got,) = receiver.received
    assert (got.path, got.event) == ("/told;now?by=us", "evt_1")
    assert got.payload == {"type": "webhook.test"}
    assert got.headers["content-type"] == "application/json"
    got.verify(SECRET)
    got.verify(FORMER)
    with pytest.raises(WebhookVerificationError):
        got.verify(OTHER)


@pytest.mark.parametrize("status", [301, 302, 307, 400, 410, 500, 503])
def test_only_a_2xx_is_a_delivery_and_redirects_are_not_followed(
    receiver: Receiver, status: int
) -> None:
    receiver.statuses, receiver.location = [status], receiver.url
    outcome = an_http_client().send(receiver.url, a_message())
    assert (code_of(outcome), outcome.response_status) == ("receiver_refused", status)
    assert len(receiver.received) == 1


@contextmanager
def replying(reply: Callable[[socket.socket], None]) -> Iterator[str]:
    """The URL of a server whose answer to one connection is whatever `reply` does."""
    with socket.create_server(("127.0.0.1", 0)) as bound:

        def serve() -> None:
            taken, _ = bound.accept()
            with taken, suppress(OSError):
                taken.recv(65536)
                reply(taken)

        thread = Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/"
        thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        b"",  # killed before it answered
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        b"\0\xff not HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000,
    ],
    ids=["nothing", "half", "no HTTP", "endless head"],
)
def test_an_answer_that_is_no_response_is_a_recorded_failure(answer: bytes) -> None:
    with replying(lambda taken: taken.sendall(answer)) as url:
        outcome = an_http_client().send(url, a_message())
    assert code_of(outcome) == "receiver_unreachable"


def test_a_host_without_an_address_is_a_recorded_failure() -> None:
    def resolve(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    client = an_http_client(allow_private=False, resolve=resolve)
    assert code_of(client.send("https://ci.example.com/", a_message())) == "receiver_unreachable"
    with pytest.raises(UrlForbidden):
        client.check("https://ci.example.com/")


def test_a_private_address_is_refused_before_and_at_the_connection(receiver: Receiver) -> None:
    client = an_http_client(allow_private=False)
    for url in ("https://127.0.0.1/", "https://localhost/", "https://[::1]/", receiver.url):
        with pytest.raises(UrlForbidden):
            client.check(url)
        assert code_of(client.send(url, a_message())) == "url_forbidden"
    assert receiver.received == []
    mixed = an_http_client(allow_private=False, resolve=at("93.184.215.14", "10.0.0.7"))
    with pytest.raises(UrlForbidden):
        mixed.check("https://ci.example.com/")
    assert code_of(mixed.send("https://ci.example.com/", a_message())) == "url_forbidden"


def test_a_name_that_has_become_private_is_refused_at_the_connection(receiver: Receiver) -> None:
    answers = iter([["93.184.215.14"], ["127.0.0.1"]])
    client = an_http_client(allow_private=False, resolve=lambda host, port: next(answers))
    port = receiver.url.rpartition(":")[2]
    client.check(f"https://ci.example.com:{port}")
    assert code_of(client.send(f"https://ci.example.com:{port}", a_message())) == "url_forbidden"


def test_the_host_is_resolved_once_and_its_certificate_verified(tmp_path: Path) -> None:
    server, trusting = self_signed(tmp_path, "ci.example.com")
    names: list[str] = []
    server.sni_callback = lambda _socket, name, _context: names.append(name)
    asked: list[str] = []

    def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"]

    with receiving(server) as receiver:
        port = receiver.url.split(":")[2].removesuffix("/told")
        url = f"https://ci.example.com:{port}/told"
        client = an_http_client(resolve=resolve, tls=trusting)
        assert client.send(url, a_message()) == Outcome(response_status=204)
        assert (asked, names) == (["ci.example.com"], ["ci.example.com"])
        assert receiver.received[0].headers["host"] == f"ci.example.com:{port}"


def test_a_wrong_certificate_ends_the_connection_before_anything_is_sent(tmp_path: Path) -> None:
    server, trusting = self_signed(tmp_path, "ci.example.com")
    with receiving(server) as receiver:
        port = receiver.url.split(":")[2].removesuffix("/told")
        nobody = an_http_client(resolve=at("127.0.0.1"))
        another = an_http_client(resolve=at("127.0.0.1"), tls=trusting)
        for client, host in ((nobody, "ci.example.com"), (another, "other.example.com")):
            outcome = client.send(f"https://{host}:{port}/told", a_message())
            assert code_of(outcome) == "receiver_unreachable"
            assert "CERTIFICATE_VERIFY_FAILED" in str(outcome.error)
        assert receiver.received == []


def test_signatures_are_those_of_the_specification() -> None:
    message = Message(
        id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        at=datetime.fromtimestamp(1614265330, UTC),
        body=b'{"test": 2432232314}',
        secrets=(SECRET,),
    )
    headers = headers_of(message)
    assert headers["webhook-timestamp"] == "1614265330"
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def trickle(taken: socket.socket) -> None:
    taken.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    for _ in range(100):
        taken.sendall(b"x")
        time.sleep(0.05)


def flood(taken: socket.socket) -> None:
    taken.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        taken.sendall(b"x" * 65536)


def test_a_receiver_that_never_ends_is_given_up_or_read_in_part() -> None:
    with replying(trickle) as url:
        outcome = an_http_client(seconds=0.3).send(url, a_message())
    assert code_of(outcome) == "receiver_timeout"
    with replying(flood) as url:
        assert an_http_client(seconds=2).send(url, a_message()) == Outcome(response_status=200)


PAGE = (ROOT / "docs/webhooks.md").read_text()


def test_the_documented_receiver_takes_what_is_signed_and_prints_it_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.+?)```", PAGE, flags=re.DOTALL)
    secret, found = make_secret(), {}
    monkeypatch.setattr(HTTPServer, "serve_forever", lambda self: None)
    exec(code.replace("whsec_...", secret).replace('("", 8080)', '("127.0.0.1", 0)'), found)
    monkeypatch.undo()
    server: Any = found["server"]
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        client = HttpWebhookClient(seconds=5, allow_private=True)
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        body = b'{"type":"job.failed","data":{"links":{"job":"/v1/jobs/job_1"}}}'
        statuses = [
            client.send(
                url, Message(id="evt_1", at=datetime.now(UTC), body=body, secrets=(key,))
            ).response_status
            for key in (make_secret(), secret, secret)
        ]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert statuses == [400, 204, 204]
    assert capsys.readouterr().out == "job.failed {'job': '/v1/jobs/job_1'}\n"


def test_every_event_type_is_documented() -> None:
    rows = re.findall(r"^\| (`.+?) \|", PAGE.split("## Events")[1], flags=re.MULTILINE)
    assert sorted(re.findall(r"`(.+?)`", " ".join(rows))) == sorted(EventType)
