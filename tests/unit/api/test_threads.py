"""Threads of one kind of work."""

import asyncio
from threading import Event, current_thread

import pytest

from api.threads import Threads
from core import logs
from tests.support.processes import wait_for


def test_only_so_many_work_at_a_time_each_with_what_its_caller_has_bound() -> None:
    may_end, at_once = Event(), set[str]()

    def work(number: int) -> tuple[int, str]:
        at_once.add(current_thread().name)
        may_end.wait()
        return number, logs.bound_value("request_id")

    async def main() -> None:
        threads = Threads(2, "few")

        async def ask(number: int) -> tuple[int, str]:
            logs.bind(request_id=f"req_{number}")
            return await threads.run(work, number)

        asking = [asyncio.create_task(ask(number)) for number in range(5)]
        try:
            await asyncio.to_thread(wait_for, lambda: len(at_once) == 2, seconds=60)
        finally:
            may_end.set()
        assert await asyncio.gather(*asking) == [(n, f"req_{n}") for n in range(5)]
        threads.close()

    asyncio.run(main())
    assert at_once == {"few_0", "few_1"}


def test_who_is_cancelled_waits_until_the_work_has_ended() -> None:
    began, may_end, ended = Event(), Event(), list[bool]()

    def work() -> None:
        began.set()
        may_end.wait()
        ended.append(True)

    async def main() -> None:
        threads = Threads(1, "one")
        asking = asyncio.create_task(threads.run(work))
        await asyncio.to_thread(began.wait)
        asking.cancel()
        await asyncio.sleep(0)
        is_done = asking.done()
        may_end.set()
        assert not is_done
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert ended == [True]
        threads.close()

    asyncio.run(main())
