"""The rate of requests: who is counted, until when, and what happens without Redis."""

import asyncio
import logging

import pytest

from api.rates import Rates, WindowCounter
from core.settings import Settings
from devtools.ports import free_port

HOUR = 3600  # longer than any test, so that nothing is given back meanwhile


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
        found = [(await rates.take("a")).allowed for _ in range(4)]
        await rates.close()
        return found

    with caplog.at_level(logging.WARNING, "api.rates"):
        allowed = asyncio.run(ask())
    # At the full hour a part of what was counted before is given back: one more at most.
    assert (allowed[:2], allowed[-1]) == ([True, True], False)
    assert [line.levelname for line in caplog.records] == ["WARNING"]
