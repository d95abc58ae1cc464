"""What a container's health check asks of a worker."""

import os
import subprocess
import sys
from pathlib import Path

from core.bootstrap import build, close, migrate
from core.fleet.rows import Heartbeats
from core.settings import Settings
from worker.supervision.health import is_alive


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
