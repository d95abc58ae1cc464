"""A full disk is a pause, never the end of a job."""

import errno
import logging
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import update as change

from core.artifacts.local import LocalArtifacts
from core.database.tables import jobs
from core.database.work import Transactions, Work
from core.errors import StorageFull
from core.job_types.run import run_next_job
from core.jobs.monitor import pause, room_of
from core.jobs.queue import cancel_job
from core.jobs.rows import Jobs
from core.jobs.rules import Job, JobStatus, Monitor
from tests.support.scene import Scene, nothing
from tests.support.tools import tools_of

STATE = b"a checkpoint" * 1000


class Disk:
    """The store's disk, which can be full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        write = os.write

        def written(descriptor: int, data: memoryview) -> int:
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(descriptor, data)

        whole = SimpleNamespace(**{**vars(os), "write": written})
        monkeypatch.setattr("core.artifacts.checks.os", whole)
        usage = SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=0 if self.full else 1e9))
        monkeypatch.setattr("core.artifacts.local.shutil", usage)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
def scene(transactions: Transactions, tmp_path: Path) -> Scene:
    return Scene(transactions, LocalArtifacts(tmp_path / "artifacts"))


def wait_it_out(scene: Scene) -> None:
    """Let the pauses of all jobs pass."""
    with scene.platform.transactions() as work:
        assert isinstance(work, Work)
        assert work._connection is not None
        work._connection.execute(change(jobs).values(paused_until=0.0))
        work.commit()


def claimable(scene: Scene) -> bool:
    with scene.platform.transactions(read_only=True) as work:
        return bool(work[Jobs].claimable())


def fill_after_a_checkpoint(scene: Scene, disk: Disk) -> None:
    """The next training keeps a checkpoint; then the disk is full."""

    def training(monitor: Monitor) -> None:
        monitor.advance("training", 1, 2)
        monitor.save_checkpoint(scene.platform.artifacts.put(STATE), 1)
        disk.full = True

    scene.script.training = training


def test_full_disk_while_publishing_pauses_the_job_and_keeps_its_checkpoint(
    scene: Scene, disk: Disk
) -> None:
    job = scene.update(scene.model(), scene.frozen("cat", "dog"))
    fill_after_a_checkpoint(scene, disk)
    left = scene.run()
    assert (left.id, left.status, left.error) == (job.id, JobStatus.QUEUED, None)
    assert left.phase == "storage_full"
    assert left.checkpoint is not None
    assert scene.platform.artifacts.get(left.checkpoint) == STATE

    event = scene.events(job)[-1]
    assert event.kind == "paused"
    assert event.data["reason"] == "storage_full"
    assert event.data["missing_bytes"] == event.data["needed_bytes"] > 0
    assert event.data["free_bytes"] == 0

    disk.full = False
    scene.script.training = nothing
    wait_it_out(scene)
    ended = scene.run()
    assert (ended.id, ended.status) == (job.id, JobStatus.SUCCEEDED)
    assert not scene.platform.artifacts.has(left.checkpoint)


def test_paused_job_is_not_claimed_at_once_and_waits_longer_each_time(
    scene: Scene, disk: Disk
) -> None:
    job = scene.update(scene.model(), scene.frozen("cat", "dog"))
    disk.full = True
    for _ in range(9):
        assert scene.run().status is JobStatus.QUEUED
        assert not claimable(scene)
        tools = tools_of(scene.script)
        assert run_next_job(scene.platform, tools, owner="w", stopping=lambda: False) is None
        wait_it_out(scene)
    waits = [e.data["retry_after_s"] for e in scene.events(job) if e.kind == "paused"]
    assert waits == [4, 8, 16, 32, 64, 128, 128, 128, 128]
    left = scene.job(job)
    assert (left.lost, left.error) == (0, None)
    disk.full = False
    assert scene.run().status is JobStatus.SUCCEEDED


def test_new_checkpoint_makes_the_next_pause_a_short_one(scene: Scene, disk: Disk) -> None:
    job = scene.update(scene.model(), scene.frozen("cat", "dog"))
    disk.full = True
    for _ in range(3):
        scene.run()
        wait_it_out(scene)
    disk.full = False
    fill_after_a_checkpoint(scene, disk)
    scene.run()
    assert scene.events(job)[-1].data["retry_after_s"] == 4


def test_candidate_that_cannot_be_scored_for_want_of_room_is_scored_later(
    scene: Scene, disk: Disk
) -> None:
    model = scene.model()
    job = scene.update(model, scene.frozen("cat", "dog"))

    def fill(monitor: Monitor) -> None:
        disk.full = True

    scene.script.evaluating = fill
    left = scene.run()
    assert (left.status, left.version, left.phase) == (JobStatus.QUEUED, 2, "storage_full")
    disk.full, scene.script.evaluating = False, nothing
    wait_it_out(scene)
    assert scene.run().status is JobStatus.SUCCEEDED
    assert len(scene.script.tasks) == 1
    assert len(scene.versions(model)) == 2
    assert scene.job(job).lost == 0


def test_paused_job_can_be_cancelled_and_holds_up_no_other_model(scene: Scene, disk: Disk) -> None:
    job = scene.update(scene.model(), scene.frozen("cat", "dog"))
    other = scene.update(scene.model("other"), scene.frozen("cow", "ant", offset=8))
    disk.full = True
    assert scene.run().id == job.id
    disk.full = False
    ended = scene.run()
    assert (ended.id, ended.status) == (other.id, JobStatus.SUCCEEDED)
    assert cancel_job(scene.platform, job.id).status is JobStatus.CANCELLED


def test_pause_is_written_as_soon_as_a_full_database_has_room(
    scene: Scene, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = scene.update(scene.model(), scene.frozen("cat", "dog"))
    transactions, tries = scene.platform.transactions, []

    def full(monitor: Monitor) -> None:
        disk.full = True

        def refused(*, read_only: bool = False) -> Work:
            tries.append(read_only)
            if len(tries) < 3:
                raise StorageFull
            return transactions(read_only=read_only)

        object.__setattr__(scene.platform, "transactions", refused)

    monkeypatch.setattr("core.jobs.monitor.RETRY_S", 0.0)
    scene.script.training = full
    left: Job = scene.run()
    assert (left.id, left.status, left.phase, left.lost) == (
        job.id,
        JobStatus.QUEUED,
        "storage_full",
        0,
    )


def test_pause_needs_the_fence(scene: Scene) -> None:
    scene.update(scene.model(), scene.frozen("cat", "dog"))

    def lose_then_fill(monitor: Monitor) -> None:
        with scene.platform.transactions() as work:
            work[Jobs].release_owner("w")
            assert work[Jobs].claim("another", 60, 3) is not None
            work.commit()
        raise StorageFull(needed_bytes=5)

    scene.script.training = lose_then_fill
    left = scene.run()
    assert (left.status, left.fence, left.pauses) == (JobStatus.RUNNING, 2, 0)
    assert left.phase == "claimed"


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({}, {}),
        ({"needed_bytes": 7}, {"needed_bytes": 7}),
        ({"free_bytes": 7, "path": "/x"}, {"free_bytes": 7}),
        ({"needed_bytes": None, "free_bytes": 7}, {"free_bytes": 7}),
        (
            {"needed_bytes": 9, "free_bytes": 7},
            {"needed_bytes": 9, "free_bytes": 7, "missing_bytes": 2},
        ),
        (
            {"needed_bytes": 7, "free_bytes": 9},
            {"needed_bytes": 7, "free_bytes": 9, "missing_bytes": 0},
        ),
    ],
)
def test_of_a_full_disk_is_told_what_is_known(facts: dict[str, Any], told: dict[str, int]) -> None:
    assert room_of(StorageFull(**facts)) == told


def test_a_worker_that_stops_does_not_wait_for_a_full_database(
    scene: Scene, log: pytest.LogCaptureFixture
) -> None:
    job = scene.update(scene.model(), scene.frozen("cat", "dog"))

    def full(*, read_only: bool = False) -> Work:
        raise StorageFull

    pause(replace(scene.platform, transactions=full), job, StorageFull(), stopping=lambda: True)
    said = [(line.levelno, line.getMessage()) for line in log.records]
    assert said == [
        (logging.WARNING, ("the database has no space left; the job's lease will expire instead"))
    ]
