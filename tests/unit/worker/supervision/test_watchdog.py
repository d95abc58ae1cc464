"""When a child is left alone, asked to stop or killed, and when a worker is alive."""

import os
import subprocess
import sys
from pathlib import Path

from core.bootstrap import build, close, migrate
from core.fleet.rows import Heartbeats
from core.jobs.rules import HeldJob, JobStatus
from core.settings import Settings
from core.values import JobId
from worker.supervision.health import is_alive
from worker.supervision.threads import Action, Watchdog


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


def test_the_grace_time_counts_from_each_cancellation_anew() -> None:
    dog = watchdog()
    dog.remedy(held(JobStatus.CANCELLING), 0)
    dog.remedy([], 5)

    assert dog.remedy(held(JobStatus.CANCELLING), 12) is Action.LEAVE


def test_a_worker_is_alive_where_it_has_beaten_of_late(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    migrate(settings)
    platform = build(settings)
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
    close(platform)


def test_a_database_that_is_away_is_no_health(tmp_path: Path) -> None:
    away = {"PERENNIAL_DATABASE_URL": "postgresql+psycopg://nobody@127.0.0.1:1/none"}
    command = [sys.executable, "-m", "worker.supervision.health"]
    done = subprocess.run(
        command, env=os.environ | away, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 1
    assert "database" in done.stderr
