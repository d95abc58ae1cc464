"""SIGKILL, SIGSTOP, SIGTERM and want of memory of a worker, and messages that come again."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from random import Random
from time import monotonic, sleep

import psutil

from core.jobs.broker import CeleryNotifier
from core.jobs.rules import Job, JobStatus
from core.registry.versions import Version
from core.values import JobId
from tests.nightly.faults import line
from tests.nightly.faults.points import KILL, STOP
from tests.nightly.faults.stage import Stage, now, until
from tests.nightly.faults.tries import Try, each
from tests.support.processes import wait_for_exit

# What may be seen at each point, by anybody else: nothing before its commit.
Seen = Callable[[Job, list[Version], int], bool]  # job, the versions it has made, what is live

SEEN: dict[str, Seen] = {
    "publish.before": lambda job, made, live: not made and job.version is None,
    "publish.after": lambda job, made, live: len(made) == 1 and made[0].verdict is None,
    "verdict.before": lambda job, made, live: made[0].verdict is None and not job.status.done,
    "verdict.after": lambda job, made, live: made[0].verdict is not None and job.status.done,
    "promote.before": lambda job, made, live: made[0].verdict is None and live == 1,
    "promote.after": lambda job, made, live: made[0].number == live,
    "checkpoint.before": lambda job, made, live: job.checkpoint is None and not made,
    "checkpoint.after": lambda job, made, live: job.checkpoint is not None and not made,
    "evaluate.before": lambda job, made, live: len(made) == 1 and made[0].verdict is None,
    "evaluate.after": lambda job, made, live: len(made) == 1 and made[0].verdict is None,
    # The other worker may claim it at once.
    "claim.before": lambda job, made, live: job.attempt < 2 and not made,
    "claim.after": lambda job, made, live: job.status is JobStatus.RUNNING and not made,
}


@each
def kill(stage: Stage, number: int, moments: Random) -> Try:
    """By turns at a named point and at a random moment; the child alone or the whole worker."""
    if number % 2:
        return kill_at_moment(stage, moments)
    turn, place = divmod(number // 2, len(SEEN))
    point, whole = [*SEEN][place], (turn + place) % 2 == 0
    stage.points.arm(point, signal=KILL, whole=whole)
    job = stage.order()
    struck = stage.struck_at(point)
    seen = stage.find(job)
    made, live = line.versions_of(stage.platform, seen), line.live_version(stage.platform)
    # Only a whole worker's job waits for the lease: a child's may be further on already.
    early = whole and not SEEN[point](seen, made, live)
    trouble = f"seen at once: {seen.status}, {made}, live: {live}" if early else ""
    what = f"{_whom(whole)} at {point}"
    return judge(stage, job, struck, what, trouble, attempts=attempts_after(point))


def attempts_after(point: str) -> int | None:
    """The most claims that the job of a worker struck at a point may take; None: any number.

    A claim that was not committed never was.
    """
    return 1 if point == "claim.before" else None


def kill_at_moment(stage: Stage, moments: Random) -> Try:
    """Kill whoever holds the job a part of its usual time after it was ordered."""
    whole, fraction = moments.random() < 0.5, moments.random()
    job = stage.order()
    sleep(fraction * stage.lasts_s)
    supervisor = moments.choice(stage.supervisors())
    children = supervisor.children()
    if holder := stage.holder(job):
        supervisor, *children = holder
    phase = stage.find(job).phase
    struck = now()
    if whole:
        stage.kill(supervisor, *children)
    else:
        for child in children:
            child.kill()
    return judge(stage, job, struck, f"{_whom(whole)} at {fraction:.2f}, {phase}")


def judge(
    stage: Stage,
    job: JobId,
    struck: float,
    what: str,
    trouble: str = "",
    *,
    attempts: int | None = None,
) -> Try:
    """The outcome of an update that was struck, after so many claims at most."""
    ended = stage.wait_for_end(job)
    made = line.versions_of(stage.platform, ended)
    told = line.kinds(stage.platform, ended)
    twice = max(told.count("done") - 1, told.count("candidate") - 1, len(made) - 1, 0)
    good = ended.status is JobStatus.SUCCEEDED and len(made) == 1
    if not good:
        trouble = trouble or f"{ended.status}, {ended.error}"
    elif line.live_version(stage.platform) != made[0].number:
        trouble = trouble or f"not live: {ended.result}"
    elif attempts is not None and ended.attempt > attempts:
        trouble = trouble or f"{ended.attempt} attempts"
    return Try(
        what=what,
        trouble=trouble,
        lost=0 if good else 1,
        duplicated=twice,
        equal=good and line.digest_of(stage.platform, ended) == stage.undisturbed,
        recovery_s=stage.claimed_after(job, struck),
    )


def _whom(whole: bool) -> str:
    return "worker" if whole else "child"


MESSAGES = 10

LATEST = 0.9  # of an update's usual time

MARGIN_S = 10.0  # beyond the grace time: requests in flight, a last word to the database


@each
def sigterm(stage: Stage, _number: int, moments: Random) -> Try:
    """At random moments of an update; embedded, the whole service is told to end."""
    job, (supervisor, _child), fraction = under_way(stage, moments)
    phase, struck, began = stage.find(job).phase, now(), monotonic()
    told = stage.api if stage.settings.embedded else stage.started(supervisor)
    told.terminate()
    code = wait_for_exit(told)
    took = monotonic() - began
    what = f"at {fraction:.2f}, {phase}, ended in {took:.1f} s"
    trouble = f"exit code {code}" if code else ""
    tried = judge(stage, job, struck, what, trouble, attempts=2)
    if lost := stage.find(job).lost:
        tried = replace(tried, trouble=f"given back, but counted as lost: {lost}")
    limit = stage.settings.grace_seconds + MARGIN_S
    return replace(tried, slow=f"ended later than {limit:.0f} s" if took > limit else "")


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


@each
def messages(stage: Stage, _number: int, moments: Random) -> Try:
    """The same message again and again, some of them while the job runs."""
    notifier, late, began = CeleryNotifier(stage.settings), moments.randrange(1, MESSAGES), now()
    job = stage.order()
    for number in range(MESSAGES - 1):
        if number == late:
            until(lambda: stage.holder(job) or stage.find(job).status.done)
        notifier.notify(job, stage.find(job).type.queue)
    what = f"{late} before the claim, {MESSAGES - late} after it"
    return replace(judge(stage, job, began, what, attempts=1), recovery_s=None)


# Each kind of write by fence, by turns about to begin and within its open transaction.
STOPPED_AT = (
    "put-checkpoint.after",
    "publish.before",
    "put-answers.after",
    "verdict.before",
    "claim.after",
    "claim.before",
    "put-weights.after",
    "checkpoint.before",
    "put-report.after",
    "promote.before",
)

# What a worker says when its fence holds no longer.
REFUSED = {
    "lost the lease: another worker now runs the job",
    "lost the lease: the job was not returned to the queue",
    "lost the lease: the job was not paused",
    "lost the lease: another worker will record the job's end",
}


@each
def stop(stage: Stage, number: int, moments: Random) -> Try:
    """By turns at a point and at a random moment; it wakes during the next run or after it."""
    wakes_late = moments.random() < 0.3
    if number % 2 == 0:
        point = STOPPED_AT[number // 2 % len(STOPPED_AT)]
        stage.points.arm(point, signal=STOP, whole=True)
        job = stage.order()
        struck = stage.struck_at(point)
        return _wake(stage, job, until(lambda: _stopped(stage)), struck, point, wakes_late)
    while True:
        job, stopped, fraction = under_way(stage, moments)
        for process in stopped:
            process.suspend()
        struck, seen = now(), stage.find(job)
        if not seen.status.done:
            what = f"at {fraction:.2f}, {seen.phase}"
            return _wake(stage, job, stopped, struck, what, wakes_late)
        for process in stopped:  # it ended just now
            process.resume()


def _wake(
    stage: Stage,
    job: JobId,
    stopped: Sequence[psutil.Process],
    struck: float,
    what: str,
    wakes_late: bool,
) -> Try:
    log = len(stage.site.log)
    seen = stage.find(job)  # on a slow machine the other worker may be at work already
    until(lambda: stage.find(job).fence > seen.fence or stage.find(job).status.done)
    if wakes_late:
        stage.wait_for_end(job)
    for process in stopped:
        process.resume()
    told = f"{what}, wakes {'late' if wakes_late else 'early'}"
    tried = judge(stage, job, struck, told, attempts=attempts_after(what))
    if seen.fence:  # it had a claim
        until(lambda: _is_refused(stage, log, seen.fence, job))
    return tried


def _stopped(stage: Stage) -> list[psutil.Process]:
    """The worker that is stopped, parent first."""
    return next(
        (
            [supervisor, *supervisor.children()]
            for supervisor in stage.supervisors()
            if supervisor.status() == psutil.STATUS_STOPPED
        ),
        [],
    )


def _is_refused(stage: Stage, log: int, fence: int, job: JobId) -> bool:
    """Return whether a worker with this fence or an older one was told that it lost its lease."""
    return any(
        told.get("event") in REFUSED and told["job"] == job and told["fence"] <= fence
        for told in stage.lines(log)
    )


# A step of this update holds some 150 MB, for much less than a lease.
HUNGRY = {"sentences": 8_000, "sentence_length": 16}

ROOM = 64 << 20  # bytes beyond what a child holds when it is idle


@each
def want_memory(stage: Stage, _number: int, _moments: Random) -> Try:
    """The kernel ends whoever has grown too far; the next job runs as if nothing had been."""
    most = max(child.memory_info().rss for child in stage.children()) + ROOM
    job = stage.order(recipe=line.RECIPE.to_json() | HUNGRY)

    def ended() -> Job | None:
        for child in stage.children():
            with suppress(psutil.NoSuchProcess):
                if child.memory_info().rss > most:
                    child.kill()
        stage.mend()
        found = stage.find(job)
        return found if found.status.done else None

    given_up, at = until(ended), now()
    code = (given_up.error or {}).get("code")
    good = given_up.status is JobStatus.FAILED and code == "worker_lost" and given_up.attempt <= 3
    what = f"killed, {given_up.attempt} attempts, {code}"
    trouble = "" if good else f"{given_up.status}, {what}: {given_up.error}"
    return judge(stage, stage.order(), at, what, trouble)
