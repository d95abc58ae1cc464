"""The rate of requests: who is counted, until when, and what happens without Redis."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from api.rates import Allowance, Rates, WindowCounter
from core.settings import Settings
from devtools.ports import free_port

T = TypeVar("T")

HOUR = 3600  # longer than any test, so that nothing is given back meanwhile


def counting(settings: Settings, ask: Callable[[Rates], Awaitable[T]]) -> T:
    """Return what a caller gets from rates that are closed afterwards."""

    async def run() -> T:
        rates = Rates(settings)
        try:
            return await ask(rates)
        finally:
            await rates.close()

    return asyncio.run(run())


async def until_refused(rates: Rates, caller: str, most: int) -> list[Allowance]:
    """The allowances of a caller up to the first refusal."""
    found = []
    for _ in range(most):
        found.append(await rates.take(caller))
        if not found[-1].allowed:
            return found
    raise AssertionError("nothing was refused")


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
    with caplog.at_level(logging.WARNING, "api.rates"):
        found = counting(settings, lambda rates: until_refused(rates, "a", 4))
    assert [one.allowed for one in found[:2]] == [True] * 2
    assert [line.levelname for line in caplog.records] == ["WARNING"]
