"""SIGTERM: the worker ends in time, and its job goes on elsewhere. Ten messages: one version."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from time import monotonic, sleep

import psutil

from core.jobs.broker import CeleryNotifier
from core.values import JobId
from tests.nightly.faults.rows.worker_kill import judge
from tests.nightly.faults.stage import Stage, now, until
from tests.nightly.faults.tries import Try
from tests.support.processes import wait_for_exit

MESSAGES = 10

LATEST = 0.9  # of an update's usual time

MARGIN_S = 10.0  # beyond the grace time: requests in flight, a last word to the database


def sigterm(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """At random moments of an update; embedded, the whole service is told to end."""
    for _ in range(tries):
        job, (supervisor, _child), fraction = under_way(stage, moments)
        phase, struck, began = stage.find(job).phase, now(), monotonic()
        told = stage.api if stage.is_embedded else stage.started(supervisor)
        told.terminate()
        code = wait_for_exit(told)
        took = monotonic() - began
        tried = judge(stage, job, struck, f"at {fraction:.2f}, {phase}, ended in {took:.1f} s")
        ended = stage.find(job)
        trouble = tried.trouble
        if code != 0:
            trouble = f"exit code {code} after {took:.1f} s"
        elif ended.lost or ended.attempt > 2:
            trouble = f"given back, but counted as lost: {ended.lost}, attempt {ended.attempt}"
        limit = stage.settings.grace_seconds + MARGIN_S
        slow = f"ended later than {limit:.0f} s" if took > limit else ""
        yield replace(tried, trouble=trouble, slow=slow)


def under_way(
    stage: Stage, moments: Random
) -> tuple[JobId, tuple[psutil.Process, psutil.Process], float]:
    """An update, who holds it, and how far it is: a drawn part of its usual time from its claim."""
    while True:
        stage.ready()
        fraction = LATEST * moments.random()
        job = stage.order()
        holder = until(lambda job=job: stage.holder(job) or stage.find(job).status.done)
        sleep(fraction * stage.lasts_s)
        if isinstance(holder, tuple) and not stage.find(job).status.done:  # no faster than usual
            return job, holder, fraction


def messages(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """The same message again and again, some of them while the job runs."""
    notifier = CeleryNotifier(stage.settings)
    for _ in range(tries):
        late = moments.randrange(1, MESSAGES)
        stage.ready()
        began = now()
        job = stage.order()
        queue = stage.find(job).type.queue
        for number in range(MESSAGES - 1):
            if number == late:
                until(lambda job=job: stage.holder(job) or stage.find(job).status.done)
            notifier.notify(job, queue)
        tried = judge(stage, job, began, f"{late} before the claim, {MESSAGES - late} after it")
        attempt = stage.find(job).attempt
        trouble = tried.trouble or ("" if attempt == 1 else f"{attempt} attempts")
        yield replace(tried, recovery_s=None, trouble=trouble)
