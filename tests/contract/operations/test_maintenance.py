"""Maintenance: jobs that are notified again or ended, and what is deleted after some time."""

import logging
import os
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from core.artifacts.local import LocalArtifacts
from core.database.idempotency import Idempotency, IdempotentReply
from core.database.work import Work
from core.jobs.orders import ImportOrder
from core.jobs.queue import cancel_job
from core.jobs.rows import Jobs
from core.jobs.rules import Job, JobStatus
from core.operations.maintenance import (
    ANY_JOB,
    delete_expired,
    end_cancelled_jobs,
    notify_waiting_jobs,
)
from core.settings import Settings
from tests.support.claims import abandon, checkpoint, claim
from tests.support.factories import NOW, a_job, digest
from tests.support.notifiers import RecordingNotifier
from tests.support.scene import Scene

LATER = NOW + timedelta(hours=3)


def abandoned(scene: Scene) -> Job:
    """An update that is being cancelled and whose worker died after a checkpoint."""
    scene.update(scene.model(), scene.frozen("cat", "dog"))
    job = abandon(scene)
    checkpoint(scene, job)
    return cancel_job(scene.platform, job.id)


@pytest.mark.parametrize(
    ("listening", "notified"),
    [(["gpu"], ["gpu"]), (["housekeeping"], []), (["housekeeping", "gpu"], ["gpu"])],
)
def test_a_worker_notifies_those_of_its_queues_where_a_job_waits(
    scene: Scene, listening: list[Any], notified: list[str]
) -> None:
    platform = replace(scene.platform, settings=Settings(queues=tuple(listening)))
    notifier = RecordingNotifier()
    assert notify_waiting_jobs(platform, notifier) is False
    scene.update(scene.model(), scene.frozen("cat", "dog"))
    assert notify_waiting_jobs(platform, notifier) is bool(notified)
    assert notifier.notified == [(ANY_JOB, queue) for queue in notified]
    for name in ("one", "two"):
        scene.order(scene.model(name), ImportOrder(base="bundled"))
    notifier.notified.clear()
    assert notify_waiting_jobs(platform, notifier)
    assert sorted(notifier.notified) == [(ANY_JOB, queue) for queue in sorted(listening)]


def test_looking_for_waiting_and_cancelled_jobs_waits_for_no_writer(scene: Scene) -> None:
    model = scene.model()
    with scene.platform.transactions() as writer:
        writer[Jobs].add(a_job(model))
        assert not notify_waiting_jobs(scene.platform, RecordingNotifier())  # it is not committed
        end_cancelled_jobs(scene.platform)
        writer.commit()
    assert notify_waiting_jobs(scene.platform, RecordingNotifier())


def test_a_cancelled_job_that_its_worker_left_is_ended_now_and_in_the_log(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    job = abandoned(scene)
    caplog.set_level(logging.INFO)
    end_cancelled_jobs(replace(scene.platform, clock=lambda: LATER))
    ended, last = scene.job(job), scene.events(job)[-1]
    assert (ended.status, ended.phase) == (JobStatus.CANCELLED, "cancelled")
    assert (ended.finished_at, ended.checkpoint) == (LATER, None)
    assert not scene.platform.artifacts.has(job.checkpoint)
    assert (last.kind, last.data, last.at) == ("done", {"status": "cancelled"}, LATER)
    (line,) = caplog.records
    assert (line.levelno, line.getMessage()) == (
        logging.INFO,
        "job cancelled: no worker holds it",
    )
    assert vars(line)["job"] == job.id


def test_a_cancelled_job_that_a_worker_claims_meanwhile_is_left_to_it(scene: Scene) -> None:
    job = abandoned(scene)
    transactions = scene.platform.transactions

    def behind(*, read_only: bool = False) -> Work:
        if not read_only:
            claim(scene.platform.transactions)
        return transactions(read_only=read_only)

    end_cancelled_jobs(replace(scene.platform, transactions=behind))
    left = scene.job(job)
    assert (left.status, left.fence, left.finished_at) == (JobStatus.CANCELLING, 2, None)


def test_a_key_is_forgotten_a_day_after_it_was_used(scene: Scene) -> None:
    scene.order(scene.model(), ImportOrder(base="bundled"))
    job = claim(scene.platform.transactions)
    reply = IdempotentReply(actor="me", key="k", body=digest("body"), job=job.id, created_at=NOW)
    with scene.platform.transactions() as work:
        work[Idempotency].add(reply)
        work.commit()

    def sweep(after: timedelta) -> IdempotentReply | None:
        delete_expired(replace(scene.platform, clock=lambda: NOW + after))
        with scene.platform.transactions(read_only=True) as work:
            return work[Idempotency].find("me", "k")

    assert sweep(timedelta(hours=24)) == reply
    assert sweep(timedelta(hours=24, seconds=1)) is None


def test_temporaries_of_dead_writers_are_swept_after_an_hour(scene: Scene, tmp_path: Path) -> None:
    folder = tmp_path / "artifacts" / "ab"
    folder.mkdir(parents=True)
    for age_s in (3590, 3610):
        left = folder / f".new-{age_s}"
        left.write_bytes(b"half")
        os.utime(left, (time.time() - age_s,) * 2)
    delete_expired(replace(scene.platform, artifacts=LocalArtifacts(folder.parent)))
    assert [left.name for left in folder.iterdir()] == [".new-3590"]
