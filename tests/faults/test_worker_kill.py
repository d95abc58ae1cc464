"""What happens to an update whose worker is killed, stopped or told to cancel."""

import signal

import psutil

from core.domain.update import Job, JobStatus, Queue
from core.domain.values import Digest
from core.use_cases.jobs import cancel_job
from tests.faults import line
from tests.faults.worker import START_S, Worker
from tests.processes import Site, kill, wait_for
from worker.app import make_app
from worker.doorbell import CeleryDoorbell


def test_killed_child_ends_in_one_version_with_the_undisturbed_digest(
    site: Site, worker: Worker, undisturbed: Digest
) -> None:
    job = line.order(site.platform)
    child = worker.wait_for_child()
    wait_for(lambda: "checkpoint" in line.kinds(site.platform, job), seconds=START_S)

    child.send_signal(signal.SIGKILL)

    ended = wait_for_end(site, job)
    assert ended.attempt == 2
    assert ended.lost <= 1
    assert line.digest_of(site.platform, job) == undisturbed
    assert line.versions_of(site.platform, job) == 1


def test_ten_messages_for_one_job_make_one_version(
    site: Site, worker: Worker, undisturbed: Digest
) -> None:
    worker.wait_for_child()
    doorbell = CeleryDoorbell(make_app(site.settings))
    job = line.order(site.platform, doorbell)
    for _ in range(9):
        doorbell.ring(job.id, Queue.GPU)

    ended = wait_for_end(site, job)

    assert ended.attempt == 1
    assert line.versions_of(site.platform, job) == 1
    assert line.digest_of(site.platform, job) == undisturbed


def test_cancelled_job_stops_within_a_step_and_leaves_no_version(
    site: Site, worker: Worker
) -> None:
    worker.wait_for_child()
    job = line.order(site.platform)
    wait_for(lambda: line.find(site.platform, job).phase == "training", seconds=START_S)

    cancel_job(site.platform, job.id)

    ended = wait_for(lambda: ended_or_none(site, job), seconds=10)
    assert ended.status is JobStatus.CANCELLED
    assert ended.checkpoint is None
    assert line.versions_of(site.platform, job) == 0


def test_terminated_worker_gives_its_job_back_and_another_finishes_it(
    site: Site, worker: Worker, undisturbed: Digest
) -> None:
    worker.wait_for_child()
    job = line.order(site.platform)
    wait_for(lambda: line.find(site.platform, job).phase == "training", seconds=START_S)

    worker.supervisor.terminate()
    assert worker.wait_for_end() == 0

    given_back = line.find(site.platform, job)
    assert given_back.status is JobStatus.QUEUED
    assert given_back.checkpoint is not None
    assert site.processes() == []
    worker.wait_for_child()
    ended = wait_for_end(site, job)
    assert (ended.attempt, ended.lost) == (2, 0)
    assert line.digest_of(site.platform, job) == undisturbed


def test_killed_supervisor_leaves_no_process(site: Site, worker: Worker) -> None:
    child = worker.wait_for_child()

    kill(worker.supervisor)

    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, seconds=5)
    assert site.processes() == []


def test_closed_standard_input_ends_the_supervisor(site: Site, worker: Worker) -> None:
    worker.wait_for_child()

    worker.close_stdin()

    assert worker.wait_for_end() == 0
    assert site.processes() == []


def wait_for_end(site: Site, job: Job) -> Job:
    return wait_for(lambda: ended_or_none(site, job), seconds=START_S)


def ended_or_none(site: Site, job: Job) -> Job | None:
    found = line.find(site.platform, job)
    return found if found.status.done else None
