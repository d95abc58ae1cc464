"""A supervisor of small real children, over a real database."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.bootstrap import build, close, migrate
from core.gate.rows import Policies
from core.jobs.orders import Queue
from core.jobs.rows import Jobs
from core.jobs.rules import Job
from core.platform import Platform
from core.registry.rows import Models
from core.settings import Settings
from core.values import JobId
from tests.support.factories import a_job, a_model, a_policy
from worker.supervision.supervisor import Child, Supervisor

SLEEP = "import time; print(flush=True); time.sleep(60)"

DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"


class RecordingNotifier:
    """Counts its notifications."""

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


def claimable(platform: Platform) -> bool:
    with platform.transactions(read_only=True) as work:
        return work[Jobs].claimable()
