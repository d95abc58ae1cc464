"""SIGKILL of a worker: at every named point and at random moments of an update."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from time import sleep

from core.jobs.rules import Job, JobStatus
from core.registry.versions import Version
from core.values import JobId
from tests.nightly.faults import line
from tests.nightly.faults.points import KILL, Blow
from tests.nightly.faults.stage import Stage, now, until
from tests.nightly.faults.tries import Try

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


def run(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """By turns at a named point and at a random moment; the child alone or the whole worker."""
    points = list(SEEN)
    for number in range(tries):
        stage.ready()
        turn, place = divmod(number // 2, len(points))
        if number % 2 == 0:
            yield at_point(stage, points[place], whole=(turn + place) % 2 == 0)
        else:
            whole = moments.random() < 0.5
            yield at_moment(stage, moments.random(), whole=whole, choice=moments)


def at_point(stage: Stage, point: str, *, whole: bool) -> Try:
    """Kill the worker that reaches a point."""
    stage.points.arm(point, Blow(signal=KILL, whole=whole))
    job = stage.order()
    struck = until(lambda: stage.points.struck_at(point))
    seen = stage.find(job)
    made, live = line.versions_of(stage.platform, seen), line.live_version(stage.platform)
    # Only a whole worker's job waits for the lease: a child's may be further on already.
    early = whole and not SEEN[point](seen, made, live)
    trouble = f"seen at once: {seen.status}, {made}, live: {live}" if early else ""
    tried = judge(stage, job, struck, f"{_whom(whole)} at {point}", trouble)
    attempt = stage.find(job).attempt
    if point == "claim.before" and attempt != 1:  # a claim that was not committed never was
        return replace(tried, trouble=tried.trouble or f"{attempt} attempts")
    return tried


def at_moment(stage: Stage, fraction: float, *, whole: bool, choice: Random) -> Try:
    """Kill whoever holds the job a part of its usual time after it was ordered."""
    job = stage.order()
    sleep(fraction * stage.lasts_s)
    supervisor = choice.choice(stage.supervisors())
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


def judge(stage: Stage, job: JobId, struck: float, what: str, trouble: str = "") -> Try:
    """What became of an update that was struck."""
    ended = stage.wait_for_end(job)
    made = line.versions_of(stage.platform, ended)
    told = line.kinds(stage.platform, ended)
    twice = max(told.count("done") - 1, told.count("candidate") - 1, len(made) - 1, 0)
    good = ended.status is JobStatus.SUCCEEDED and len(made) == 1
    if not good:
        trouble = trouble or f"{ended.status}, {ended.error}"
    elif line.live_version(stage.platform) != made[0].number:
        trouble = trouble or f"not live: {ended.result}"
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
