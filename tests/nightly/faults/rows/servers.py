"""API, Redis and PostgreSQL killed, Redis flushed, the database without room, while clients order.

Each order has an Idempotency-Key, and its client remembers what was answered.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from random import Random
from time import sleep
from typing import Any

import httpx

from core.jobs.rows import Jobs
from core.jobs.rules import JobStatus
from core.registry.rows import Models
from core.values import JobId
from devtools.servers import run_sql
from tests.nightly.faults.points import KILL, fill
from tests.nightly.faults.rows.clock import only
from tests.nightly.faults.rows.disk_full import BALLAST, small_disk
from tests.nightly.faults.rows.workers import judge
from tests.nightly.faults.stage import START_S, Stage, at_once, now, production, until
from tests.nightly.faults.tries import Try, each
from tests.support.processes import wait_for, wait_for_exit


@dataclass
class Answered:
    """An order, and what its client was told."""

    name: str  # of the model, and the Idempotency-Key
    sent: float
    status: int | None = None  # None: the connection broke
    done: float = 0.0
    job: JobId | None = None


@contextmanager
def ordering(
    stage: Stage,
    prefix: str,
    *,
    count: int = 4,
    pause_s: float = 0.1,
    on_accepted: Callable[[], None] = lambda: None,
) -> Iterator[list[Answered]]:
    """Have some clients order at once; their orders so far."""
    answers: list[Answered] = []

    def order_once(client: int) -> None:
        answer = Answered(name=f"{prefix}-{client}-{len(answers)}", sent=now())
        answers.append(answer)
        order(stage, answer)
        if answer.status == 202:
            on_accepted()
        sleep(pause_s)

    with at_once(count, order_once):
        yield answers


def acknowledged(answers: Sequence[Answered]) -> list[Answered]:
    return [one for one in answers if one.status == 202]


def order(stage: Stage, answer: Answered) -> None:
    """Send an order, and note what comes back."""
    headers = {"Idempotency-Key": answer.name}
    body = {"name": answer.name, "base": str(stage.settings.home / "base")}
    with suppress(httpx.TransportError), stage.new_client() as client:
        reply = client.post("/v1/models", json=body, headers=headers)
        answer.status, answer.done = reply.status_code, now()
        if reply.status_code == 202:
            answer.job = JobId(reply.json()["id"])


def wait_for_order(stage: Stage, name: str) -> Answered:
    """The first order of this name that is accepted; sent until one is."""

    def accepted() -> Answered | None:
        answer = Answered(name=name, sent=now())
        order(stage, answer)
        return answer if answer.status == 202 else None

    return wait_for(accepted, seconds=START_S)


WITHIN_S = 1.5  # of random moments

# What is answered without a database: that the process lives, and nothing else.
LOOKS = {"/healthz": 200, "/readyz": 503, "/v1/models": 503, "/v1/jobs": 503, "/v1/workers": 503}

API_POINTS = ("order.before", "order.after", "reply", "any moment")


@each
def api(stage: Stage, number: int, moments: Random) -> Try:
    """SIGKILL of the API before and after a commit, right after a reply, and at any moment."""
    point, moment = API_POINTS[number % len(API_POINTS)], moments.uniform(0, WITHIN_S)
    job = stage.order()
    victim = stage.api
    accepted = victim.kill if point == "reply" else lambda: None
    with ordering(stage, f"api-{number}", on_accepted=accepted) as answers:
        until(lambda: acknowledged(answers))
        if point.startswith("order"):
            stage.points.arm(point, signal=KILL)
        elif point == "any moment":
            sleep(moment)
            victim.kill()
        wait_for_exit(victim)
        struck = now()
    stage.mend()
    first = wait_for_order(stage, f"api-{number}-again")
    what = f"{point}, {len(acknowledged(answers))} of {len(answers)} acknowledged"
    return judge_with_orders(stage, job, what, [*answers, first], struck, first.done - struck)


@each
def redis(stage: Stage, number: int, moments: Random) -> Try:
    """SIGKILL of Redis at a random moment; orders go on while it is away."""
    moment, away = moments.uniform(0, WITHIN_S), moments.uniform(0.2, 2.0)

    def harm() -> None:
        sleep(moment)
        stage.broker.kill()
        sleep(away)
        stage.broker.start()

    return _without_messages(stage, f"redis-{number}", f"away for {away:.1f} s", harm)


@each
def flush(stage: Stage, number: int, moments: Random) -> Try:
    """FLUSHALL again and again while orders come in."""

    def harm() -> None:
        sleep(moments.uniform(0, 0.5))
        with stage.broker.client() as client:
            for _ in range(10):
                client.flushall()
                sleep(0.1)

    return _without_messages(stage, f"flush-{number}", "10 times", harm)


def _without_messages(stage: Stage, name: str, what: str, harm: Callable[[], None]) -> Try:
    """Harm the broker while clients order: all are accepted, and every worker hears again."""
    before = [child.pid for child in stage.children()]
    job = stage.order()
    with ordering(stage, name, count=2, pause_s=0.3) as answers:
        harm()
        back = now()
        sleep(0.5)
    what = f"{what}, {len(answers)} orders meanwhile"
    tried = judge_with_orders(stage, job, what, answers, back, None)
    refused = [one for one in answers if one.status != 202]
    trouble = f"not accepted: {refused[0]}" if refused else _deaf(stage, name)
    if (present := [child.pid for child in stage.children()]) != before:
        trouble = trouble or f"children were {before} and are {present}"
    waits = [stage.claimed_after(one.job, back) for one in answers if one.job]
    took = min((late for late in waits if late is not None), default=None)
    return replace(tried, trouble=tried.trouble or trouble, recovery_s=took)


@each
def postgres(stage: Stage, number: int, moments: Random) -> Try:
    """SIGKILL of PostgreSQL, all its processes, at a random moment."""
    moment, away = moments.uniform(0, WITHIN_S), moments.uniform(0.2, 2.0)
    job = stage.order()
    with ordering(stage, f"postgres-{number}", count=2, pause_s=0.3) as answers:
        sleep(moment)
        stage.database.kill()
        down = now()
        sleep(away)
        looks = {path: stage.client.get(path).status_code for path in LOOKS}
        up = now()
        stage.database.start()
        first = wait_for_order(stage, f"postgres-{number}-again")
    meanwhile = [one for one in answers if down < one.sent and 0 < one.done < up]
    lies = [one for one in meanwhile if one.status != 503]
    trouble = f"while it was down: {looks}, {lies}" if lies or looks != LOOKS else ""
    what = f"away for {away:.1f} s, {len(meanwhile)} orders refused meanwhile"
    answers.append(first)
    return judge_with_orders(stage, job, what, answers, down, first.done - up, trouble)


def judge_with_orders(
    stage: Stage,
    job: JobId,
    what: str,
    answers: Sequence[Answered],
    struck: float,
    took: float | None,
    trouble: str = "",
) -> Try:
    """The outcomes of clients' orders, and of the update that ran meanwhile.

    Every order is sent again: each made one job, the acknowledged one, which ends.
    """
    lost, twice = 0, 0
    jobs: list[JobId] = []
    for first in answers:
        again = Answered(name=first.name, sent=now())
        for _ in range(5):  # in progress: its first sender may still be at it
            order(stage, again)
            if again.status != 409:
                break
            sleep(0.2)
        if again.job is None:
            trouble = trouble or f"{first.name} sent again: {again.status}"
            continue
        jobs.append(again.job)
        lost += first.job is not None and not stage.client.get(f"/v1/jobs/{first.job}").is_success
        twice += first.job not in {None, again.job}
        with stage.platform.transactions(read_only=True) as work:
            twice += len(work[Jobs].page(10, None, model=work[Models].get(first.name).id)) - 1
    for ended in map(stage.wait_for_end, jobs):
        if ended.status is not JobStatus.SUCCEEDED:
            lost += 1
            trouble = trouble or f"{ended.status}: {ended.error}"
    update = judge(stage, job, struck, what)
    return Try(
        what=what,
        trouble=trouble or update.trouble,
        lost=lost + update.lost,
        duplicated=twice + update.duplicated,
        equal=update.equal,
        recovery_s=took,
    )


def _deaf(stage: Stage, prefix: str) -> str:
    """Trouble, if a worker that is alone does not hear of an order."""
    for number, worker in enumerate(stage.supervisors()):
        with only(stage, worker):
            job = wait_for_order(stage, f"{prefix}-alone-{number}").job
            assert job is not None
            try:
                until(lambda job=job: stage.find(job).status.done)
            except AssertionError:
                return f"worker {number} is deaf"
    return ""


SIZE = 256 << 20  # bytes: an empty cluster with some log

CALM = {202, 503, 507}  # accepted; or refused, while it recovers or because it has no room

WITHOUT_ROOM_S = 2.0  # from the first refusal on


@contextmanager
def stuffed(**changes: Any) -> Iterator[Stage]:
    """PostgreSQL on a disk of its own; all else has room."""
    with small_disk(SIZE) as disk, production(disk=disk, **changes) as stage:
        # Its log may not grow so far that it always has room within.
        where = stage.database.url
        run_sql(where, "postgres", "ALTER SYSTEM SET max_wal_size = '48MB'")
        run_sql(where, "postgres", "ALTER SYSTEM SET min_wal_size = '32MB'")
        run_sql(where, "postgres", "SELECT pg_reload_conf()")
        yield stage


@each
def want_room(stage: Stage, number: int, moments: Random) -> Try:
    """No room from a random moment of an update on, until orders have been refused for a while."""
    ballast = stage.database.folder / BALLAST
    job = stage.order()
    sleep(moments.uniform(0, stage.lasts_s))
    fill(ballast)
    struck = now()
    with ordering(stage, f"full-{number}", count=2) as answers:
        until(lambda: [one for one in answers if one.done > struck and one.status != 202])
        sleep(WITHOUT_ROOM_S)
        os.truncate(ballast, 0)
        freed = now()
        until(lambda: _back(stage))
        first = wait_for_order(stage, f"full-{number}-again")
    answers.append(first)
    codes = dict(Counter(one.status for one in answers))
    what = f"orders were answered {codes}"
    trouble = "" if {*codes} <= CALM else "refused otherwise than for want of room"
    return judge_with_orders(stage, job, what, answers, struck, first.done - freed, trouble)


def _back(stage: Stage) -> bool:
    """True if the database answers again; one that has given up is started, as by a manager."""
    if not stage.database.is_up():
        stage.database.start()
    return stage.answers()
