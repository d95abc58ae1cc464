"""Claims of jobs, and workers that lose them."""

import time

from core.database.work import Transactions
from core.jobs.rows import Jobs
from core.jobs.rules import Job
from core.registry.versions import Model
from core.values import Digest
from tests.support.factories import NOW, a_job
from tests.support.scene import Scene

LEASE = 0.2  # seconds


def store(transactions: Transactions, *jobs: Job) -> None:
    with transactions() as work:
        for job in jobs:
            work[Jobs].add(job)
        work.commit()


def queue(transactions: Transactions, model: Model, count: int = 1) -> list[Job]:
    made = [a_job(model) for _ in range(count)]
    store(transactions, *made)
    return made


def claim(transactions: Transactions, owner: str = "w", lease_s: float = 60) -> Job | None:
    with transactions() as work:
        job = work[Jobs].claim(owner, lease_s, lost_limit=3)
        work.commit()
    return job


def succeed(transactions: Transactions, job: Job) -> None:
    with transactions() as work:
        work[Jobs].finish(job.succeed({}, NOW), job.fence)
        work.commit()


def lose(transactions: Transactions) -> Job | None:
    """Claim and let the lease pass."""
    job = claim(transactions, lease_s=LEASE)
    time.sleep(LEASE + 0.05)
    return job


def abandon(scene: Scene, *, expected: bool = True) -> Job | None:
    """Claim the next job as a worker that dies at once."""
    with scene.platform.transactions() as work:
        job = work[Jobs].claim("dead", 60, 3)
        work[Jobs].release_owner("dead")
        work.commit()
    assert (job is not None) is expected
    return job


def lose_lease(scene: Scene) -> None:
    """Let another worker claim what the scene's worker holds."""
    with scene.platform.transactions() as work:
        work[Jobs].release_owner("w")
        assert work[Jobs].claim("another", 60, 3) is not None
        work.commit()


def checkpoint(scene: Scene, job: Job) -> Digest:
    stored = scene.platform.artifacts.put(b"state")
    with scene.platform.transactions() as work:
        work[Jobs].set_checkpoint(job.id, job.fence, stored)
        work.commit()
    return stored
