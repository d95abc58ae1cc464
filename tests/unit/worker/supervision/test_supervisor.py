"""The supervisor over a real database and small real children."""

import time

import psutil
import pytest

from core.fleet.rows import Heartbeats
from core.jobs.orders import Queue
from core.jobs.queue import cancel_job
from core.jobs.rules import JobStatus
from core.platform import Platform
from core.values import JobId
from tests.unit.worker.supervision.conftest import (
    DEAF,
    Nursery,
    RecordingNotifier,
    claim,
    claimable,
    queue,
    supervise,
)


def test_dead_child_is_replaced_under_a_new_owner_and_its_job_is_free_at_once(
    platform: Platform, nursery: Nursery
) -> None:
    supervisor, now = supervise(platform, nursery), time.monotonic()
    supervisor.tick(now)
    queue(platform)
    claim(platform, nursery.children[0].owner)
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
    supervisor, now = supervise(platform, nursery), time.monotonic()
    supervisor.tick(now)
    queue(platform)
    claim(platform, nursery.children[0].owner, lease_s=1.0)

    supervisor.tick(now + 1)
    supervisor.tick(now + 2)

    assert nursery.children[0].exit_code == -9
    assert claimable(platform)


def test_child_that_ignores_a_cancellation_is_terminated_then_killed(
    platform: Platform, nursery: Nursery
) -> None:
    nursery.program = DEAF
    supervisor, now = supervise(platform, nursery), time.monotonic()
    supervisor.tick(now)
    job = queue(platform)
    claim(platform, nursery.children[0].owner)
    assert cancel_job(platform, job.id).status is JobStatus.CANCELLING

    for passed in (0.1, 0.45):
        supervisor.tick(now + passed)
        assert nursery.children[0].exit_code is None
    supervisor.tick(now + 0.75)

    assert nursery.children[0].exit_code == -9


def test_stop_ends_a_deaf_child_by_force_and_frees_its_job(
    platform: Platform, nursery: Nursery
) -> None:
    nursery.program = DEAF
    supervisor = supervise(platform, nursery)
    supervisor.tick(time.monotonic())
    queue(platform)
    claim(platform, nursery.children[0].owner)

    supervisor.stop()
    supervisor.run()

    assert nursery.children[0].exit_code == -9
    assert claimable(platform)
    with platform.transactions(read_only=True) as work:
        assert work[Heartbeats].fresh(60) == []


def test_living_child_beats(platform: Platform, nursery: Nursery) -> None:
    supervise(platform, nursery).tick(time.monotonic())

    with platform.transactions(read_only=True) as work:
        ((name, facts),) = work[Heartbeats].fresh(60)
    assert name == "here:1"
    assert facts["child"] == nursery.children[0].pid


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
        assert len(work[Heartbeats].fresh(60)) == 1

    supervisor.tick(now + 1)

    assert notifier.notified == 2
    (child,) = nursery.children
    assert child.exit_code is None
