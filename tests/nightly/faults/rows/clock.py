"""One host's clock is an hour off: leases go by the database's, so none is early and none stuck."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from math import ceil
from random import Random
from time import sleep

import psutil

from core.jobs.rules import JobStatus
from devtools.programs import FAKETIME, find
from tests.nightly.faults import line
from tests.nightly.faults.rows.workers import judge
from tests.nightly.faults.stage import Stage, now, production, until
from tests.nightly.faults.tries import Try, each

HOUR_S = 3600


def skewed(offset: int) -> AbstractContextManager[Stage]:
    """PostgreSQL, Redis and two workers, the second an `offset` in seconds off."""
    return production(second=faked(offset))


def faked(offset: int) -> Mapping[str, str]:
    """The environment of a process whose clock is an `offset` in seconds off."""
    return {
        "LD_PRELOAD": str(find(FAKETIME)),
        "FAKETIME": f"{offset:+d}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # else threads wait not at all for each other
    }


@each
def run(stage: Stage, number: int, moments: Random) -> Try:
    """By turns each of the two works under the other's eyes, and is killed for it to take over."""
    act = watched if number % 4 < 2 else partial(killed, moment=moments.uniform(0.1, 0.9))
    return act(stage, skewed_one=number % 2 == 0)


def watched(stage: Stage, *, skewed_one: bool) -> Try:
    """While one works for longer than its lease, the other must not take the job from it."""
    least = ceil(1.2 * stage.settings.lease_seconds / stage.lasts_s)
    for times in (least, 2 * least, 4 * least, 8 * least):
        recipe = line.RECIPE.to_json() | {"epochs": line.RECIPE.epochs * times}
        with only(stage, stage.supervisors()[skewed_one]):
            job = stage.order(recipe=recipe)
            until(lambda job=job: stage.holder(job))
            began = now()
        ended = stage.wait_for_end(job)
        lasted = now() - began
        good = ended.status is JobStatus.SUCCEEDED and ended.attempt == 1
        if lasted > stage.settings.lease_seconds or not good:
            break
    trouble = "" if good else f"{ended.status} after {ended.attempt} attempts: {ended.error}"
    if lasted <= stage.settings.lease_seconds:
        trouble = trouble or f"it lasted no longer than a lease: {lasted:.1f} s"
    return Try(what=f"{_name(skewed_one)} works for {lasted:.1f} s", trouble=trouble)


def killed(stage: Stage, *, moment: float, skewed_one: bool) -> Try:
    """The job of a worker that is killed at a part of it is taken over by the other one."""
    with only(stage, stage.supervisors()[skewed_one]):
        job = stage.order()
        supervisor, child = until(lambda: stage.holder(job))
        sleep(moment * stage.lasts_s)
        fence = stage.find(job).fence
        struck = now()
        stage.kill(supervisor, child)
    until(lambda: stage.find(job).fence > fence or stage.find(job).status.done)
    took = now() - struck  # by this clock: what a worker wrote down may be an hour off
    tried = judge(stage, job, struck, f"{_name(skewed_one)} killed at {moment:.1f}")
    return replace(tried, recovery_s=took)


def _name(skewed_one: bool) -> str:
    return "the skewed one" if skewed_one else "the right one"


@contextmanager
def only(stage: Stage, worker: psutil.Process) -> Iterator[None]:
    """Let one worker alone receive messages."""
    others = [one for one in stage.supervisors() if one.pid != worker.pid]
    asleep = [process for one in others for process in (one, *one.children())]
    for process in asleep:
        process.suspend()
    try:
        yield
    finally:
        for process in asleep:
            process.resume()
