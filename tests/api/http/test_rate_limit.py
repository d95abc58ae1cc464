"""The rate of each key over HTTP, and the requests that have none."""

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from core.principal import Role
from tests.support.api.service import EMBEDDED, code_of, running, settings_of

HOUR = 3600  # longer than any test, so that nothing is given back meanwhile

WITHOUT_RATE = ("/healthz", "/readyz", "/docs", "/metrics")


def until_refused(client: TestClient, most: int, **sent: Any) -> list[Any]:
    """The answers to a key up to its first refusal."""
    found = []
    for _ in range(most):
        found.append(client.get("/v1/datasets", **sent))
        if found[-1].status_code != 200:
            return found
    raise AssertionError("nothing was refused")


def test_a_key_beyond_its_rate_is_refused_and_told_when_to_try_again(home: Path) -> None:
    with running(settings_of(home, rate_requests=3, rate_seconds=HOUR)) as service:
        other = service.key(Role.VIEWER)
        # At the full hour a part of what was counted before is given back: one more at most.
        *answers, refused = until_refused(service.client, 5)
        assert len(answers) >= 3
        assert {one.headers["ratelimit-policy"] for one in answers} == {f'"requests";q=3;w={HOUR}'}
        assert answers[0].headers["ratelimit"].startswith('"requests";r=2;t=')
        assert code_of(refused) == (429, "rate_exceeded")
        wait = int(refused.headers["retry-after"])
        assert 1 <= wait <= HOUR
        assert refused.json()["facts"] == {"retry_after_s": wait}
        assert refused.json()["retryable"] is True
        assert refused.headers["ratelimit"] == f'"requests";r=0;t={wait}'
        with service.untouched():  # before the body is read
            answer = service.client.post("/v1/datasets", content=b"not json")
        assert code_of(answer) == (429, "rate_exceeded")
        assert service.client.get("/v1/datasets", headers=other).status_code == 200


@EMBEDDED
def test_what_watches_the_service_has_no_rate(home: Path) -> None:
    with running(settings_of(home, rate_requests=1, rate_seconds=HOUR)) as service:
        until_refused(service.client, 3)
        for path in WITHOUT_RATE:
            answer = service.client.get(path)
            assert answer.status_code == (503 if path == "/readyz" else 200), path
            assert "ratelimit" not in answer.headers
    with running(settings_of(home, rate_requests=0)) as service:  # which is no rate
        assert "ratelimit" not in service.client.get("/v1/datasets").headers


@pytest.mark.parametrize("back_end", ["servers"], indirect=True)
def test_processes_that_share_a_redis_count_together(home: Path) -> None:
    settings = settings_of(home, rate_requests=3, rate_seconds=HOUR)
    with running(settings) as one, running(settings) as another:
        until_refused(one.client, 5)
        # At the full hour, again, one more at most.
        until_refused(another.client, 2)
