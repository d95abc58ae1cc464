"""The supervisor over a real database and small real children, its watchdog, and its health."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from core.bootstrap import build, close, migrate
from core.fleet.rows import Heartbeats
from core.gate.rows import Policies
from core.jobs.orders import Queue
from core.jobs.queue import cancel_job
from core.jobs.rows import Jobs
from core.jobs.rules import HeldJob, Job, JobStatus
from core.platform import Platform
from core.registry.rows import Models
from core.settings import Settings
from core.values import JobId
from tests.support.factories import a_job, a_model, a_policy
from tests.support.processes import wait_for
from worker.supervision.health import is_alive
from worker.supervision.supervisor import Child, Supervisor
from worker.supervision.threads import Action, Watchdog

SLEEP = "import time; print(flush=True); time.sleep(60)"

DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"


class RecordingNotifier:
    def __init__(self) -> None:
        self.notified = 0

    def notify(self, job: JobId, queue: Queue) -> None:
        self.notified += 1


class Nursery:
    """Starts small children and remembers them."""

    def __init__(self, program: str = SLEEP) -> None:
        self.program = program
        self.children: list[Child] = []

    def start(self, owner: str) -> Child:
        process = subprocess.Popen(
            [sys.executable, "-c", self.program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,
        )
        assert process.stdout is not None
        process.stdout.readline()  # it is as deaf as it will get
        process.stdout.close()
        self.children.append(Child(owner, process))
        return self.children[-1]


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    settings = Settings(home=tmp_path, lease_seconds=30, grace_seconds=0.3, sweep_seconds=1)
    migrate(settings)
    made = build(settings)
    yield made
    close(made)


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    for child in made.children:
        child.kill()


def supervise(
    platform: Platform, nursery: Nursery, notifier: RecordingNotifier | None = None
) -> Supervisor:
    return Supervisor(platform, notifier or RecordingNotifier(), nursery.start, name="here:1")


def queue(platform: Platform) -> Job:
    with platform.transactions() as work:
        policy = a_policy()
        work[Policies].add(policy)
        model = a_model(policy)
        work[Models].add(model)
        job = a_job(model)
        work[Jobs].add(job)
        work.commit()
    return job


def claim(platform: Platform, owner: str, lease_s: float = 30) -> Job:
    with platform.transactions() as work:
        job = work[Jobs].claim(owner, lease_s, 3)
        work.commit()
    assert job is not None
    return job


def working(
    platform: Platform, nursery: Nursery, lease_s: float = 30
) -> tuple[Supervisor, float, Job]:
    """A supervisor whose child has claimed a job, the time of its first tick, and the job."""
    supervisor, now = supervise(platform, nursery), time.monotonic()
    supervisor.tick(now)
    job = queue(platform)
    claim(platform, nursery.children[0].owner, lease_s)
    return supervisor, now, job


def claimable(platform: Platform) -> bool:
    with platform.transactions(read_only=True) as work:
        return work[Jobs].claimable()


@pytest.mark.parametrize(("code", "children", "ended"), [(0, 1, True), (1, 3, False)])
def test_a_supervisor_of_one_job_ends_with_it_or_with_the_third_child_that_failed(
    platform: Platform, code: int, children: int, ended: bool
) -> None:
    nursery = Nursery(f"import sys; print(flush=True); sys.exit({code})")
    supervisor = Supervisor(platform, None, nursery.start, name="job_1")
    for hour in range(5):
        supervisor.tick(time.monotonic() + 3600 * hour)
        wait_for(lambda: nursery.children[-1].exit_code is not None, seconds=30)
    supervisor.run()  # it was stopped: this is the end alone
    assert len(nursery.children) == children
    assert supervisor.job_ended is ended
    with platform.transactions(read_only=True) as work:
        assert work[Heartbeats].all() == []


def test_dead_child_is_replaced_under_a_new_owner_and_its_job_is_free_at_once(
    platform: Platform, nursery: Nursery
) -> None:
    supervisor, now, _ = working(platform, nursery)
    assert not claimable(platform)

    psutil.Process(nursery.children[0].pid).kill()
    psutil.Process(nursery.children[0].pid).wait(5)
    supervisor.tick(now + 1)

    assert claimable(platform)
    supervisor.tick(now + 10)
    first, second = nursery.children
    assert first.owner != second.owner
    assert second.owner.startswith("here:1:")
    assert second.exit_code is None


def test_child_that_renews_no_lease_is_killed_and_its_job_is_free(
    platform: Platform, nursery: Nursery
) -> None:
    supervisor, now, _ = working(platform, nursery, lease_s=1.0)

    supervisor.tick(now + 1)
    supervisor.tick(now + 2)

    assert nursery.children[0].exit_code == -9
    assert claimable(platform)


def test_child_that_ignores_a_cancellation_is_terminated(
    platform: Platform, nursery: Nursery
) -> None:
    supervisor, now, job = working(platform, nursery)
    assert cancel_job(platform, job.id).status is JobStatus.CANCELLING

    supervisor.tick(now + 0.1)
    assert nursery.children[0].exit_code is None
    supervisor.tick(now + 0.45)

    assert wait_for(lambda: nursery.children[0].exit_code, seconds=20) == -15


def test_stop_ends_a_deaf_child_by_force_and_frees_its_job(
    platform: Platform, nursery: Nursery
) -> None:
    nursery.program = DEAF
    supervisor, _, _ = working(platform, nursery)

    supervisor.stop()
    supervisor.run()

    assert nursery.children[0].exit_code == -9
    assert claimable(platform)
    with platform.transactions(read_only=True) as work:
        assert work[Heartbeats].fresh(60) == []


def test_an_unexpected_error_ends_neither_the_child_nor_the_rest_of_the_tick(
    platform: Platform, nursery: Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(RecordingNotifier):
        def notify(self, job: JobId, queue: Queue) -> None:
            super().notify(job, queue)
            if self.notified == 1:
                raise ValueError("of a kind that nobody foresaw")

    notifier, now = Failing(), time.monotonic()
    supervisor = supervise(platform, nursery, notifier)
    queue(platform)
    supervisor.tick(now)
    assert "nobody foresaw" in caplog.text
    with platform.transactions(read_only=True) as work:
        ((name, facts),) = work[Heartbeats].fresh(60)
    assert (name, facts["child"]) == ("here:1", nursery.children[0].pid)

    supervisor.tick(now + 1)

    assert notifier.notified == 2
    (child,) = nursery.children
    assert child.exit_code is None


def test_a_heartbeat_has_what_the_child_has_told_of_its_device(
    platform: Platform, tmp_path: Path
) -> None:
    told, go = {"device": "cpu (x)", "device_reason": "no GPU found", "threads": 2}, tmp_path / "go"
    program = f"""
import pathlib, time
while not pathlib.Path({str(go)!r}).exists():
    time.sleep(0.01)
print({json.dumps(told)!r}, flush=True)
time.sleep(60)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, process_group=0
    )
    child = Child("here:1:a", process)
    try:
        assert child.facts() == {}  # while it loads torch
        go.touch()
        wait_for(child.facts, seconds=20)
        supervisor = Supervisor(platform, RecordingNotifier(), lambda _: child, name="here:1")
        supervisor.tick(time.monotonic())
        with platform.transactions(read_only=True) as work:
            ((_, facts),) = work[Heartbeats].fresh(60)
        assert facts | told == facts
        assert facts["child"] == child.pid
    finally:
        child.kill()


def test_a_waiting_job_is_announced_less_and_less_often(
    platform: Platform, nursery: Nursery
) -> None:
    notifier, now = RecordingNotifier(), time.monotonic()
    supervisor = supervise(platform, nursery, notifier)
    queue(platform)

    for second in range(60):
        supervisor.tick(now + second)

    # after 0, 1, 3, 7 and 15 seconds, then every 8
    assert notifier.notified == 10


def test_cancelled_job_of_a_dead_worker_ends_while_every_child_is_busy(
    platform: Platform, nursery: Nursery
) -> None:
    supervisor, now = supervise(platform, nursery), time.monotonic()
    supervisor.tick(now)
    job = queue(platform)
    claimed = claim(platform, "there:7:dead", lease_s=-1)
    checkpoint = platform.artifacts.put(b"state")
    with platform.transactions() as work:
        work[Jobs].set_checkpoint(job.id, claimed.fence, checkpoint)
        following = a_job(work[Models].get(job.model))
        work[Jobs].add(following)
        work.commit()
    cancel_job(platform, job.id)

    supervisor.tick(now + 1)

    with platform.transactions(read_only=True) as work:
        ended, last = work[Jobs].get(job.id), work[Jobs].events(job.id, 99, 0)[-1]
    assert (ended.status, ended.checkpoint) == (JobStatus.CANCELLED, None)
    assert (last.kind, last.data) == ("done", {"status": "cancelled"})
    assert not platform.artifacts.has(checkpoint)
    assert claim(platform, "there:8:alive").id == following.id


def held(status: JobStatus = JobStatus.RUNNING, lease_s: float = 60.0) -> list[HeldJob]:
    return [HeldJob(id=JobId("job_1"), status=status, lease_s=lease_s)]


def watchdog() -> Watchdog:
    return Watchdog(grace_s=10, margin_s=2)


def test_child_whose_lease_runs_out_is_killed_before_others_may_claim_its_job() -> None:
    for jobs in ([], held(), held(lease_s=2.5)):
        assert watchdog().remedy(jobs, 0) is Action.LEAVE
    assert watchdog().remedy(held(lease_s=1.5), 0) is Action.KILL


def test_ignored_cancellation_is_terminated_after_the_grace_time_and_killed_after_two() -> None:
    dog = watchdog()
    cancelling = held(JobStatus.CANCELLING)

    assert dog.remedy(cancelling, 100.0) is Action.LEAVE
    assert dog.remedy(cancelling, 109.9) is Action.LEAVE
    assert dog.remedy(cancelling, 110.0) is Action.TERMINATE
    assert dog.remedy(cancelling, 120.0) is Action.KILL
    assert dog.remedy([], 125.0) is Action.LEAVE
    assert dog.remedy(cancelling, 130.0) is Action.LEAVE  # a new one has a time of its own


def test_a_worker_is_alive_where_it_has_beaten_of_late(platform: Platform) -> None:
    assert not is_alive(platform, "here")
    with platform.transactions() as work:
        work[Heartbeats].record("elsewhere:1", {"host": "elsewhere"})
        work.commit()
    assert not is_alive(platform, "here")
    with platform.transactions() as work:
        work[Heartbeats].record("here:1", {"host": "here"})
        work.commit()
    assert is_alive(platform, "here")
    with platform.transactions() as work:
        work[Heartbeats]._connection.exec_driver_sql("UPDATE beats SET at = at - 60")
        work.commit()
    assert not is_alive(platform, "here")


def test_a_database_that_is_away_is_no_health(tmp_path: Path) -> None:
    away = {"PERENNIAL_DATABASE_URL": "postgresql+psycopg://nobody@127.0.0.1:1/none"}
    command = [sys.executable, "-m", "worker.supervision.health"]
    done = subprocess.run(
        command, env=os.environ | away, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 1
    assert "database" in done.stderr
