import subprocess
import sys
from pathlib import Path

import pytest

from core import bootstrap
from core.database.work import Transactions
from core.datasets.rows import Datasets
from core.errors import StorageFull
from core.settings import Settings
from tests.support.factories import a_dataset


def test_built_platform_works_after_migrating(tmp_path: Path) -> None:
    platform = bootstrap.build(Settings(home=tmp_path / "home"))
    bootstrap.migrate(platform.settings)
    with platform.transactions() as work:
        work[Datasets].add(a_dataset())
        work.commit()
    stored = platform.artifacts.put(b"bytes")
    assert platform.artifacts.get(stored) == b"bytes"
    assert platform.clock().utcoffset().total_seconds() == 0
    bootstrap.close(platform)


def test_control_plane_never_loads_torch() -> None:
    absent = {"torch", "open_clip", "alembic"}
    code = f"import sys, core.bootstrap; assert not {absent} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_full_disk_says_so_and_recovers(url: str) -> None:
    transactions = Transactions(url)
    with transactions() as work:
        pages = work._connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        work._connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 1}")
        with pytest.raises(StorageFull):
            fill(work)
    with transactions() as work:
        assert work[Datasets].page(1, None) == []
        work._connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
        fill(work)
        work.commit()
    transactions.close()


def fill(work) -> None:
    for _ in range(200):
        work[Datasets].add(a_dataset(name="x" * 60 + a_dataset().name))
