"""A lease lasts as long as bytes of an artifact move, however slowly, and no longer."""

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from sqlalchemy import update as change

from core.artifacts.local import LocalArtifacts
from core.artifacts.s3 import S3Artifacts
from core.clip.model import load, publish
from core.database.tables import jobs
from core.database.work import Transactions, Work
from core.errors import CancelRequested, LeaseLost
from core.jobs.monitor import WRITE_EVERY_S, JobMonitor
from core.jobs.queue import cancel_job
from core.jobs.rows import Jobs
from core.jobs.rules import Job
from core.learning.step import Checkpoints, read_checkpoint
from tests.support.learning.tiny_clip import tiny_clip
from tests.support.scene import Scene

LEASE_S = 60.0

STATE = {"format": 2, "tensor": torch.arange(3 << 18, dtype=torch.float32)}  # 3 MiB


class Time:
    """Seconds that pass for the worker and for its lease, and for nobody else."""

    def __init__(self, transactions: Transactions, monkeypatch: pytest.MonkeyPatch) -> None:
        self._transactions = transactions
        self.now = 1000.0
        clock = SimpleNamespace(monotonic=lambda: self.now)
        monkeypatch.setattr("core.jobs.monitor.time", clock)

    def passes(self, seconds: float) -> None:
        """Leases end so much sooner."""
        self.now += seconds
        with self._transactions() as work:
            assert isinstance(work, Work)
            assert work._connection is not None
            sooner = jobs.c.lease_until - seconds
            work._connection.execute(change(jobs).values(lease_until=sooner))
            work.commit()


@pytest.fixture
def time(transactions: Transactions, monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(transactions, monkeypatch)


@pytest.fixture
def scene(transactions: Transactions, tmp_path: Path) -> Scene:
    return Scene(transactions, LocalArtifacts(tmp_path / "artifacts"))


@pytest.fixture
def monitor(scene: Scene, time: Time) -> JobMonitor:
    """The watch of a job that a worker holds."""
    scene.update(scene.model(), scene.frozen("cat", "dog"))
    return JobMonitor(scene.platform, claimed(scene, "w"), stopping=lambda: False)


def claimed(scene: Scene, owner: str) -> Job:
    with scene.platform.transactions() as work:
        job = work[Jobs].claim(owner, LEASE_S, 3)
        work.commit()
    assert job is not None
    return job


def others_may_claim(scene: Scene) -> bool:
    with scene.platform.transactions(read_only=True) as work:
        return bool(work[Jobs].claimable())


@pytest.fixture
def slow_disk(scene: Scene, time: Time, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Reading or writing a piece takes a third of the lease; whether the job was free after it."""
    free: list[bool] = []
    write, read = os.write, os.read

    def slowly(act: Callable[[int, object], object]) -> Callable[[int, object], object]:
        def done(descriptor: int, what: object) -> object:
            result = act(descriptor, what)
            time.passes(LEASE_S / 3)
            free.append(others_may_claim(scene))
            return result

        return done

    disk = SimpleNamespace(**{**vars(os), "write": slowly(write), "read": slowly(read)})
    monkeypatch.setattr("core.artifacts.checks.os", disk)
    yield free
    assert len(free) > 6  # over more than twice the lease


def test_worker_keeps_its_lease_while_a_checkpoint_is_written(
    scene: Scene, monitor: JobMonitor, slow_disk: list[bool]
) -> None:
    Checkpoints(scene.platform.artifacts, monitor, newest=None, environments=()).keep(STATE, 7)
    assert not any(slow_disk)


def test_worker_keeps_its_lease_while_a_checkpoint_that_is_there_is_hashed(
    scene: Scene, monitor: JobMonitor, request: pytest.FixtureRequest
) -> None:
    checkpoints = Checkpoints(scene.platform.artifacts, monitor, newest=None, environments=())
    checkpoints.keep(STATE, 7)
    free = request.getfixturevalue("slow_disk")
    checkpoints.keep(STATE, 7)
    assert not any(free)


def test_worker_keeps_its_lease_while_a_checkpoint_is_read(
    scene: Scene, monitor: JobMonitor, request: pytest.FixtureRequest
) -> None:
    Checkpoints(scene.platform.artifacts, monitor, newest=None, environments=()).keep(STATE, 7)
    with scene.platform.transactions(read_only=True) as work:
        (stored,) = work[Jobs].live_checkpoints()
    free = request.getfixturevalue("slow_disk")
    assert read_checkpoint(scene.platform.artifacts, stored, monitor.moved) is not None
    assert not any(free)


def test_worker_keeps_its_lease_while_weights_are_published_and_loaded(
    scene: Scene, monitor: JobMonitor, slow_disk: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.clip.model.AT_ONCE", 1)  # or reads would wait for one another
    model = tiny_clip()
    state = {**model.network.state_dict()}
    published = publish(
        model.config, state, scene.platform.artifacts, lambda done, total: None, monitor.moved
    )
    load(published.digest, scene.platform.artifacts, moved=monitor.moved)
    assert not any(slow_disk)


def test_worker_whose_write_hangs_loses_its_lease_and_leaves_nothing(
    scene: Scene, monitor: JobMonitor, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(scene.platform.artifacts.digests())
    write, others = os.write, []

    def hang(descriptor: int, data: memoryview) -> int:
        if not others:
            time.passes(LEASE_S + 1)
            others.append(claimed(scene, "another"))
        return write(descriptor, data)

    disk = SimpleNamespace(**{**vars(os), "write": hang})
    monkeypatch.setattr("core.artifacts.checks.os", disk)
    with pytest.raises(LeaseLost):
        Checkpoints(scene.platform.artifacts, monitor, newest=None, environments=()).keep(STATE, 7)
    assert others[0].lost == 1
    assert sorted(scene.platform.artifacts.digests()) == before
    assert scene.platform.artifacts.sweep(0.0) == 0


def test_bytes_that_move_keep_no_progress_from_being_told(
    scene: Scene, monitor: JobMonitor, time: Time
) -> None:
    monitor.advance("publishing", 1, 4)
    time.passes(WRITE_EVERY_S)
    monitor.moved(1)
    monitor.advance("publishing", 2, 4)
    with scene.platform.transactions(read_only=True) as work:
        (job,) = [one for one in work[Jobs].page(9, None) if one.status == "running"]
    assert job.progress.step == 2


@pytest.mark.parametrize("size", [1 << 10, 3 << 20, 12 << 20])  # the last one goes in parts
def test_s3_tells_of_bytes_as_they_are_sent_and_read(s3: S3Artifacts, size: int) -> None:
    data = io.BytesIO(os.urandom(size)).getvalue()
    sent: list[int] = []
    digest = s3.put(data, sent.append)
    assert sum(sent) >= size
    assert max(sent) <= 1 << 20
    read: list[int] = []
    assert s3.get(digest, read.append) == data
    assert sum(read) >= size
    assert max(read) <= 1 << 20


def test_s3_tells_that_a_writer_waits_for_a_collector_that_has_died(
    s3: S3Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = s3.put(b"data")
    mark = s3._collecting._mark(digest)
    bucket = {"Bucket": s3._place.bucket, "Key": mark}
    s3._client.put_object(**bucket, Body=b"")
    told: list[int] = []

    def sleep(_seconds: float) -> None:
        if len(told) > 5:
            s3._client.delete_object(**bucket)
        told.append(-1)

    monkeypatch.setattr("core.artifacts.s3_requests.time", SimpleNamespace(sleep=sleep))
    s3.put(b"data", told.append)
    assert told == [len(b"data"), *[0, -1] * 3]


def test_artifact_of_a_job_that_is_being_cancelled_is_not_written_to_its_end(
    scene: Scene, monitor: JobMonitor, slow_disk: list[bool]
) -> None:
    with scene.platform.transactions(read_only=True) as work:
        (job,) = [one for one in work[Jobs].page(9, None) if one.status == "running"]
    Checkpoints(scene.platform.artifacts, monitor, newest=None, environments=()).keep(STATE, 7)
    cancel_job(scene.platform, job.id)
    before = sorted(scene.platform.artifacts.digests())
    with pytest.raises(CancelRequested):
        Checkpoints(scene.platform.artifacts, monitor, newest=None, environments=()).keep(
            {**STATE, "format": 3}, 8
        )
    assert sorted(scene.platform.artifacts.digests()) == before
    assert len(slow_disk) > 6
