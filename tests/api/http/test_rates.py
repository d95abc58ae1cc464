"""The rate of each key: who is counted, until when, and what happens without Redis."""

import asyncio
import logging
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from api.app import create_app
from api.http.limits import rate_of
from api.rates import Rate, Rates, WindowCounter
from core.principal import Role
from core.settings import Settings
from devtools.ports import free_port
from tests.support.api.service import EMBEDDED, code_of, running, settings_of

HOUR = 3600  # longer than any test, so that nothing is given back meanwhile


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
        for path in ("/healthz", "/readyz", "/docs", "/metrics"):
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


def test_asking_a_model_has_a_rate_of_its_own_and_none_unless_one_is_set(home: Path) -> None:
    ask = "/v1/models/none/classify"
    with running(settings_of(home, rate_requests=2, rate_seconds=HOUR)) as service:
        until_refused(service.client, 4)
        for path in (ask, "/v1/models/none/embed", "/v1/embeddings"):
            answer = service.client.post(path)
            assert (answer.status_code != 429, "ratelimit" in answer.headers) == (True, False)
        for path in (f"{ask}/", "/v1/models/a/b/embed", "/v1/jobs"):  # which ask no model
            assert service.client.post(path).status_code == 429, path
        assert service.client.get(ask).status_code == 429
    limited = settings_of(home, rate_requests=100, rate_inference=2, rate_seconds=HOUR)
    with running(limited) as service:
        asked = [service.client.post(ask) for _ in range(4)]
        assert {one.headers["ratelimit-policy"] for one in asked} == {f'"inference";q=2;w={HOUR}'}
        assert code_of(asked[-1]) == (429, "rate_exceeded")
        assert "2 requests that ask a model" in asked[-1].json()["detail"]
        left = service.client.get("/v1/datasets")
        assert left.headers["ratelimit"].startswith('"requests";r=99;')


def test_every_operation_of_inference_counts_as_asking_a_model() -> None:
    routes = [route for route in create_app(Settings()).routes if isinstance(route, APIRoute)]
    asking = [one.path for one in routes if Rate.INFERENCE in {rate_of(*way) for way in ways(one)}]
    described = [one.path for one in routes if "inference" in one.tags]
    assert asking == [*described, "/ui/models/{model}/try"]
    assert len(described) == 3


def ways(route: APIRoute) -> Iterator[tuple[str, str]]:
    return product(route.methods, [route.path])


def test_the_window_before_counts_in_part_and_the_one_before_it_not_at_all() -> None:
    counter = WindowCounter(4, 10)
    assert [counter.take("a", 19.0).remaining for _ in range(4)] == [3, 2, 1, 0]
    refused = counter.take("a", 19.0)
    assert (refused.allowed, refused.reset_s) == (False, 1)  # until the window ends
    allowed = counter.take("a", 20.5)  # 3.8 of those 4 count
    assert (allowed.allowed, allowed.remaining) == (True, 0)
    refused = counter.take("a", 20.5)
    assert (refused.allowed, refused.reset_s) == (False, 2)  # until fewer than 3 of them count
    assert not counter.take("a", 22.4).allowed
    assert counter.take("a", 22.6).allowed
    assert counter.take("a", 45.0).remaining == 3


def test_without_redis_a_process_counts_alone_and_says_so_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.rates.ALONE_S", HOUR)
    settings = Settings(
        broker_url=f"redis://127.0.0.1:{free_port()}/0", rate_requests=2, rate_seconds=HOUR
    )

    async def ask() -> list[bool]:
        rates = Rates(settings)
        taken = [await rates.take("a", Rate.REQUESTS) for _ in range(4)]
        found = [one is not None and one.allowed for one in taken]
        await rates.close()
        return found

    with caplog.at_level(logging.WARNING, "api.rates"):
        allowed = asyncio.run(ask())
    # At the full hour a part of what was counted before is given back: one more at most.
    assert (allowed[:2], allowed[-1]) == ([True, True], False)
    assert [line.levelname for line in caplog.records] == ["WARNING"]
