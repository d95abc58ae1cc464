"""A full disk is a pause; a lease lasts as long as bytes move or layers compute, however slowly."""

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sqlalchemy import update as change

from benchmarks.output import NullMonitor
from core.artifacts.local import LocalArtifacts
from core.clip.model import load, publish, published_bytes
from core.database.tables import jobs
from core.database.work import Transactions, Work
from core.errors import LeaseLost, StorageFull
from core.jobs.monitor import JobMonitor, pause
from core.jobs.rows import Jobs
from core.jobs.rules import JobStatus, Monitor
from core.learning.step import Checkpoints, read_checkpoint
from core.scoring.evaluator import VersionEvaluator
from core.values import Digest
from tests.support.claims import claim
from tests.support.learning.lessons import red_and_blue, trainer_of, with_recipe
from tests.support.learning.tiny_clip import tiny_clip, tiny_config
from tests.support.scene import Scene, nothing

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
        monkeypatch.setattr("core.artifacts.checks.shutil", usage)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
def scene(transactions: Transactions, tmp_path: Path) -> Scene:
    return Scene(transactions, LocalArtifacts(tmp_path / "artifacts"))


def wait_it_out(scene: Scene) -> None:
    """Let the pauses of all jobs pass."""
    with scene.platform.transactions() as work:
        work._connection.execute(change(jobs).values(paused_until=0.0))
        work.commit()


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


def test_paused_job_is_not_claimed_at_once_and_waits_longer_until_a_new_checkpoint(
    scene: Scene, disk: Disk
) -> None:
    job = scene.update(scene.model(), scene.frozen("cat", "dog"))
    disk.full = True
    for _ in range(3):
        assert scene.run().status is JobStatus.QUEUED
        assert claim(scene.platform.transactions) is None
        wait_it_out(scene)
    disk.full = False
    fill_after_a_checkpoint(scene, disk)
    left = scene.run()
    waits = [e.data["retry_after_s"] for e in scene.events(job) if e.kind == "paused"]
    assert waits == [4, 8, 16, 4]
    assert (left.lost, left.error) == (0, None)


@pytest.mark.parametrize(
    ("stopping", "status", "tries"), [(False, JobStatus.QUEUED, 3), (True, JobStatus.RUNNING, 1)]
)
def test_pause_is_tried_until_a_full_database_has_room_or_the_worker_stops(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, stopping: bool, status: JobStatus, tries: int
) -> None:
    scene.update(scene.model(), scene.frozen("cat", "dog"))
    job = claim(scene.platform.transactions)
    tried: list[bool] = []

    def full_twice(*, read_only: bool = False) -> Work:
        tried.append(read_only)
        if len(tried) < 3:
            raise StorageFull
        return scene.platform.transactions(read_only=read_only)

    monkeypatch.setattr("core.jobs.monitor.RETRY_S", 0.0)
    full = replace(scene.platform, transactions=full_twice)
    pause(full, job, StorageFull(), stopping=lambda: stopping)
    left = scene.job(job)
    assert (left.status, left.lost, len(tried)) == (status, 0, tries)


LEASE_S = 60.0

CHECKPOINT = {"format": 2, "tensor": torch.arange(3 << 18, dtype=torch.float32)}  # 3 MiB


class Time:
    """Seconds that pass for the worker and for its lease, and for nobody else."""

    def __init__(self, transactions: Transactions, monkeypatch: pytest.MonkeyPatch) -> None:
        self._transactions = transactions
        self.now = 1000.0
        clock = SimpleNamespace(monotonic=lambda: self.now)
        monkeypatch.setattr("core.jobs.monitor.time", clock)
        monkeypatch.setattr("core.clip.progress.time", clock)

    def passes(self, seconds: float) -> None:
        """Leases end so much sooner."""
        self.now += seconds
        with self._transactions() as work:
            sooner = jobs.c.lease_until - seconds
            work._connection.execute(change(jobs).values(lease_until=sooner))
            work.commit()


@pytest.fixture
def time(transactions: Transactions, monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(transactions, monkeypatch)


@pytest.fixture
def monitor(scene: Scene, time: Time) -> JobMonitor:
    """The watch of a job that a worker holds."""
    scene.update(scene.model(), scene.frozen("cat", "dog"))
    return JobMonitor(
        scene.platform, claim(scene.platform.transactions, lease_s=LEASE_S), stopping=lambda: False
    )


def checkpoints_of(scene: Scene, monitor: JobMonitor) -> Checkpoints:
    return Checkpoints(scene.platform.artifacts, monitor, newest=None, environments=())


def stored_checkpoint(scene: Scene) -> Digest:
    with scene.platform.transactions(read_only=True) as work:
        (stored,) = work[Jobs].live_checkpoints()
    return stored


def others_may_claim(scene: Scene) -> bool:
    with scene.platform.transactions(read_only=True) as work:
        return bool(work[Jobs].claimable())


@pytest.fixture
def slow_disk(scene: Scene, time: Time, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
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
    return free


def test_worker_keeps_its_lease_while_a_checkpoint_is_written(
    scene: Scene, monitor: JobMonitor, slow_disk: list[bool]
) -> None:
    checkpoints = checkpoints_of(scene, monitor)
    for act in (
        lambda: checkpoints.keep(CHECKPOINT, 7),
        lambda: checkpoints.keep(CHECKPOINT, 7),  # it is there already, and hashed
        lambda: read_checkpoint(scene.platform.artifacts, stored_checkpoint(scene), monitor.moved),
    ):
        before = len(slow_disk)
        act()
        assert len(slow_disk) - before > 6  # over more than twice the lease
    assert not any(slow_disk)


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
    assert len(slow_disk) > 6
    assert not any(slow_disk)


def test_weights_that_find_no_room_say_how_much_they_need(scene: Scene, disk: Disk) -> None:
    model, disk.full = tiny_clip(), True
    state = {**model.network.state_dict()}
    with pytest.raises(StorageFull) as refused:
        publish(model.config, state, scene.platform.artifacts, lambda done, total: None)
    assert refused.value.facts == {"needed_bytes": published_bytes(state), "free_bytes": 0}


def test_worker_whose_write_hangs_loses_its_lease_and_leaves_nothing(
    scene: Scene, monitor: JobMonitor, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(scene.platform.artifacts.digests())
    write, others = os.write, []

    def hang(descriptor: int, data: memoryview) -> int:
        if not others:
            time.passes(LEASE_S + 1)
            others.append(claim(scene.platform.transactions, "another", LEASE_S))
        return write(descriptor, data)

    disk = SimpleNamespace(**{**vars(os), "write": hang})
    monkeypatch.setattr("core.artifacts.checks.os", disk)
    with pytest.raises(LeaseLost):
        checkpoints_of(scene, monitor).keep(CHECKPOINT, 7)
    assert others[0].lost == 1
    assert sorted(scene.platform.artifacts.digests()) == before
    assert scene.platform.artifacts.sweep(0.0) == 0


# Layers of a model, which compute for longer than a lease within one step or batch.


def test_worker_keeps_its_lease_within_a_step_and_a_batch_of_slow_layers(
    scene: Scene, monitor: JobMonitor, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    free: dict[str, list[bool]] = {"forward": [], "backward": []}
    quick = torch.nn.Linear.forward

    def takes_time(way: str) -> None:
        time.passes(LEASE_S / 3)
        free[way].append(others_may_claim(scene))

    def slow(layer: torch.nn.Linear, rows: torch.Tensor) -> torch.Tensor:
        takes_time("forward")
        found = quick(layer, rows)
        if found.requires_grad:
            found.register_hook(lambda _: takes_time("backward"))
        return found

    artifacts = scene.platform.artifacts
    config = tiny_config()
    config["model_cfg"]["vision_cfg"]["layers"] = 3
    one_step = with_recipe(red_and_blue(artifacts, config), batch_size=10, epochs=1)
    undisturbed = trainer_of(artifacts).train(one_step, resume=None, monitor=NullMonitor())
    monkeypatch.setattr("torch.nn.Linear.forward", slow)
    trained = trainer_of(artifacts).train(one_step, resume=None, monitor=monitor)
    assert len(free["backward"]) > 5  # of one step, over more than a lease
    assert trained.weights.digest == undisturbed.weights.digest

    free["forward"].clear()
    evaluator = VersionEvaluator(artifacts, device=torch.device("cpu"))
    evaluator.answer(one_step.parent, (one_step.selection.new,), monitor)
    assert len(free["forward"]) > 5  # of one batch of texts and one of images
    assert not any(free["forward"] + free["backward"])


def test_worker_of_which_a_layer_hangs_loses_its_lease_and_ends_the_step(
    scene: Scene, monitor: JobMonitor, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    others: list[Any] = []
    quick = torch.nn.Linear.forward

    def hang(layer: torch.nn.Linear, rows: torch.Tensor) -> torch.Tensor:
        if rows.requires_grad and not others:
            time.passes(LEASE_S + 1)
            others.append(claim(scene.platform.transactions, "another", LEASE_S))
        return quick(layer, rows)

    monkeypatch.setattr("torch.nn.Linear.forward", hang)
    artifacts = scene.platform.artifacts
    with pytest.raises(LeaseLost):
        trainer_of(artifacts).train(red_and_blue(artifacts), resume=None, monitor=monitor)
    assert others[0].lost == 1
