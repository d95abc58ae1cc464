"""The supervisor and jobs that wait, or whose worker has died."""

import time
from dataclasses import replace
from pathlib import Path

from core.bootstrap import build, close, migrate
from core.database.work import Work
from core.errors import DatabaseUnavailable
from core.jobs.queue import cancel_job
from core.jobs.rows import Jobs
from core.jobs.rules import JobStatus
from core.operations.maintenance import notify_waiting_jobs
from core.platform import Platform
from core.registry.rows import Models
from core.settings import Settings
from tests.support.factories import a_job
from tests.unit.worker.supervision.conftest import (
    Nursery,
    RecordingNotifier,
    claim,
    queue,
    supervise,
)


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


def test_what_no_queue_of_this_worker_holds_is_left_to_others(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, queues=("gpu",))
    migrate(settings)
    platform, notifier = build(settings), RecordingNotifier()
    queue(platform)  # an import
    notify_waiting_jobs(platform, notifier)
    assert notifier.notified == 0
    everybody = replace(platform, settings=Settings(home=tmp_path))
    notify_waiting_jobs(everybody, notifier)
    assert notifier.notified == 1
    close(platform)


def test_nothing_is_announced_when_nothing_waits(platform: Platform, nursery: Nursery) -> None:
    notifier, now = RecordingNotifier(), time.monotonic()
    supervisor = supervise(platform, nursery, notifier)

    for second in range(5):
        supervisor.tick(now + second)

    assert notifier.notified == 0


def test_absent_database_is_waited_for(platform: Platform, nursery: Nursery) -> None:
    away = True

    def transactions(*, read_only: bool = False) -> Work:
        if away:
            raise DatabaseUnavailable
        return platform.transactions(read_only=read_only)

    patient = Platform(
        settings=platform.settings,
        transactions=transactions,
        artifacts=platform.artifacts,
        clock=platform.clock,
    )
    notifier, now = RecordingNotifier(), time.monotonic()
    supervisor = supervise(patient, nursery, notifier)
    queue(platform)
    supervisor.tick(now)
    assert notifier.notified == 0

    away = False
    supervisor.tick(now + 1)

    assert notifier.notified == 1


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


def test_cancelled_job_of_a_living_worker_is_left_to_it(
    platform: Platform, nursery: Nursery
) -> None:
    supervisor, now = supervise(platform, nursery), time.monotonic()
    supervisor.tick(now)
    job = queue(platform)
    claim(platform, "there:7:alive")
    cancel_job(platform, job.id)

    supervisor.tick(now + 1)

    with platform.transactions(read_only=True) as work:
        assert work[Jobs].get(job.id).status is JobStatus.CANCELLING
