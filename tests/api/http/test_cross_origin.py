"""Requests from pages of other origins."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.api.service import EMBEDDED, Service, code_of, running, settings_of

STUDIO, OTHER = "https://studio.example", "https://other.example"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Authorization": ""}
PATHS = ("jobs", "nothing")  # one that is there, and one that is not
pytestmark = EMBEDDED


@pytest.fixture
def allowing(home: Path) -> Iterator[Service]:
    """A service that lets pages of one origin call it."""
    with running(settings_of(home, cors_origins=(STUDIO,))) as found:
        yield found


def test_without_the_setting_no_origin_is_allowed(service: Service) -> None:
    answer = service.client.get("/v1/models", headers={"Origin": STUDIO})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    asked = service.client.options("/v1/jobs", headers={"Origin": STUDIO, **PREFLIGHT})
    assert code_of(asked) == (401, "unauthorised")


def test_a_listed_origin_may_read_answers_but_send_no_cookies(allowing: Service) -> None:
    for status, headers in ((200, {}), (401, {"Authorization": ""})):
        answer = allowing.client.get("/v1/models", headers={"Origin": STUDIO, **headers})
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == STUDIO
        assert "access-control-allow-credentials" not in answer.headers
        assert "ETag" in answer.headers["access-control-expose-headers"]
        assert "Origin" in answer.headers["vary"]
    other = allowing.client.get("/v1/models", headers={"Origin": OTHER})
    assert "access-control-allow-origin" not in other.headers


def test_a_preflight_needs_no_key_and_says_the_same_of_every_path(allowing: Service) -> None:
    wanted = {"Access-Control-Request-Headers": "authorization, if-match, idempotency-key"}
    headers = {"Origin": STUDIO, **PREFLIGHT, **wanted}
    answer, other = (allowing.client.options(f"/v1/{path}", headers=headers) for path in PATHS)
    assert (answer.status_code, answer.text) == (other.status_code, other.text) == (200, "OK")
    assert {**answer.headers, "x-request-id": ""} == {**other.headers, "x-request-id": ""}
    assert answer.headers["access-control-allow-origin"] == STUDIO
    assert {"POST", "HEAD"} <= set(answer.headers["access-control-allow-methods"].split(", "))
    plain = allowing.client.options("/v1/jobs", headers={"Origin": STUDIO, "Authorization": ""})
    assert code_of(plain) == (401, "unauthorised")


def test_a_refused_preflight_is_a_problem(allowing: Service) -> None:
    for changes, refused in (
        ({"Access-Control-Request-Method": "TRACE"}, "method"),
        ({"Access-Control-Request-Headers": "cookie"}, "headers"),
        ({"Origin": OTHER, "Access-Control-Request-Method": "TRACE"}, "origin, method"),
    ):
        headers = {"Origin": STUDIO, **PREFLIGHT, **changes}
        answer = allowing.client.options("/v1/jobs", headers=headers)
        assert code_of(answer) == (403, "forbidden")
        assert answer.json()["detail"].endswith(f"because of its {refused}.")
        assert "access-control-allow-methods" not in answer.headers


def test_a_star_allows_every_origin_without_credentials(home: Path) -> None:
    with running(settings_of(home, cors_origins=("*",))) as service:
        answer = service.client.get("/healthz", headers={"Origin": OTHER})
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers
