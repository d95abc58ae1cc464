"""What the server answers to bytes on a socket that no client library would send.

The service runs as a process of its own, as `perennial serve` starts it.
"""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from api.http.middleware import SECURITY_HEADERS
from devtools.ports import free_port
from tests.support.api.service import KEY
from tests.support.processes import Site, wait_for

LONG_S = 60  # far more than the service waits; a test that needs it fails

HEAD = b"POST /v1/datasets HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"

KEYED = HEAD + f"Authorization: Bearer {KEY}\r\n".encode()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """Where a service listens that waits half a second for what a client owes it."""
    home = tmp_path_factory.mktemp("server")
    site = Site(home, embedded=False, port=free_port(), admin_key=KEY)
    site.start("cli", "serve", PERENNIAL_RECEIVE_SECONDS="0.5")
    found = ("127.0.0.1", site.settings.port)
    wait_for(lambda: _listens(found), seconds=LONG_S)
    yield found
    site.close()


def _listens(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address).close()
    except ConnectionRefusedError:
        return False
    return True


def answers_to(address: tuple[str, int], *pieces: bytes) -> bytes:
    """All bytes that come back until the server closes the connection; it must."""
    with socket.create_connection(address, timeout=LONG_S) as client:
        for piece in pieces:
            client.sendall(piece)
        return b"".join(iter(lambda: client.recv(65536), b""))


def problem_in(answer: bytes) -> tuple[int, Any, dict[str, str]]:
    """Status, problem document and headers of the only answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    assert headers["content-type"] == "application/problem+json"
    for name, value in SECURITY_HEADERS.items():
        assert headers[name.lower()] == value.lower()
    problem = json.loads(body)
    assert problem["request_id"] == headers["x-request-id"]
    assert problem["status"] == int(first.split(" ")[1])
    return problem["status"], problem, headers


def test_half_a_head_is_answered_and_the_connection_closed(address: tuple[str, int]) -> None:
    for head in (b"G", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ", KEYED):
        status, problem, _ = problem_in(answers_to(address, head))
        assert (status, problem["code"]) == (408, "request_timeout")
    assert answers_to(address) == b""  # a connection that says nothing is closed


def test_half_a_body_is_answered_and_the_connection_closed(address: tuple[str, int]) -> None:
    chunked = b"Transfer-Encoding: chunked\r\n\r\n5\r\n{"
    for body in (b"Content-Length: 99\r\n\r\n{", chunked):
        status, problem, headers = problem_in(answers_to(address, KEYED + body))
        assert (status, problem["code"], problem["retryable"]) == (408, "request_timeout", True)
        assert headers["connection"] == "close"


@pytest.mark.parametrize(
    ("begun", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ", 408),
        (HEAD + b"Content-Length: 999999\r\n\r\n{", 401),  # answered before its body has come
        (KEYED + b"Content-Length: 999999\r\n\r\n{", 408),
    ],
    ids=["a head", "a body that nobody reads", "a body that is read"],
)
def test_bytes_that_drip_on_do_not_hold_a_connection_open(
    address: tuple[str, int], begun: bytes, status: int
) -> None:
    """Bytes are sent on and on until the server hangs up."""
    answer = b""
    with socket.create_connection(address, timeout=LONG_S) as client:
        client.sendall(begun)
        client.settimeout(0.02)
        for _ in range(LONG_S * 50):
            try:
                client.sendall(b"a")
                received = client.recv(65536)
            except TimeoutError:
                continue
            except ConnectionError:
                break
            if not received:
                break
            answer += received
        else:
            pytest.fail("the connection is still open")
    assert answer.startswith(b"HTTP/1.1 %d " % status)


def test_a_connection_whose_body_came_after_its_answer_is_closed(
    address: tuple[str, int],
) -> None:
    with socket.create_connection(address, timeout=LONG_S) as client:
        client.sendall(HEAD + b"Content-Length: 3\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 401 ")
        client.sendall(b"abc")
        assert b"HTTP/1.1" not in b"".join(iter(lambda: client.recv(65536), b""))


def test_a_length_beside_chunks_is_refused_before_the_key(address: tuple[str, int]) -> None:
    body = b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
    body += b'10\r\n{"name": "cats"}\r\n0\r\n\r\n'
    for head in (KEYED, HEAD):
        status, problem, headers = problem_in(answers_to(address, head + body))
        assert (status, problem["code"]) == (400, "malformed")
        assert headers["connection"] == "close"


NOT_HTTP = [
    b"hello\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",  # no host
    KEYED + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
    b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 20_000,
]


def test_what_is_not_http_is_answered_with_a_problem_document(address: tuple[str, int]) -> None:
    for sent in NOT_HTTP:
        status, problem, headers = problem_in(answers_to(address, sent))
        assert (status, problem["code"]) == (400, "malformed"), sent
        assert headers["connection"] == "close"


NEXT = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def test_requests_sent_together_are_answered_one_after_the_other(address: tuple[str, int]) -> None:
    first = KEYED + b"Content-Length: 2\r\n\r\n{}"
    for sent in ([first + NEXT], [first + NEXT[:30], NEXT[30:]]):
        answers = answers_to(address, *sent).split(b"HTTP/1.1 ")
        assert [answer[:3] for answer in answers] == [b"", b"422", b"200"]


def test_a_request_that_offers_another_protocol_is_answered_by_this_one(
    address: tuple[str, int],
) -> None:
    """As Java's client and `curl --http2` do."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    body = b'Content-Length: 11\r\n\r\n{"nam": "a"}'[:-1]
    with socket.create_connection(address, timeout=LONG_S) as client:
        for _ in range(2):
            client.sendall(KEYED + offer + body)
            answer = client.recv(65536)
            assert answer.startswith(b"HTTP/1.1 400 ")  # of its body, which is half an object
            while b"not valid JSON" not in answer:  # it may arrive in pieces
                piece = client.recv(65536)
                assert piece, answer
                answer += piece
        client.sendall(NEXT)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
