from collections.abc import Callable
from pathlib import Path

import pytest

from core import bootstrap
from core.database.work import Transactions
from core.datasets.rows import Datasets
from core.errors import DatabaseUnavailable
from core.jobs.rows import Jobs
from core.operations.rows import Gauges
from core.registry.versions import Model
from core.settings import Settings
from devtools.servers import run_sql
from tests.support.factories import a_dataset, a_job
from tests.support.processes import wait_for

EVERYBODY = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = 'contract' AND pid <> pg_backend_pid()"
)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_cut_connection_says_unavailable_and_the_next_transaction_works(
    url: str, server: str, transactions: Transactions
) -> None:
    dataset = a_dataset()

    def write_while_cut_off() -> None:
        with transactions() as work:
            work[Datasets].add(dataset)
            run_sql(server, "contract", EVERYBODY)
            work.commit()

    with pytest.raises(DatabaseUnavailable):
        write_while_cut_off()
    with transactions() as work:
        assert work[Datasets].page(9, None) == []
        work[Datasets].add(dataset)
        work.commit()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_connections_that_were_cut_while_nobody_used_them_are_replaced_unnoticed(
    server: str, transactions: Transactions
) -> None:
    with transactions() as one, transactions() as other:  # two connections for the pool
        assert one[Datasets].page(9, None) == other[Datasets].page(9, None) == []
    run_sql(server, "contract", EVERYBODY)
    for _ in range(3):
        with transactions() as work:
            assert work[Datasets].page(9, None) == []


def test_file_that_cannot_be_opened_says_unavailable(tmp_path: Path) -> None:
    transactions = Transactions(f"sqlite:///{tmp_path}")  # a folder
    with pytest.raises(DatabaseUnavailable), transactions():
        pass
    transactions.close()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_who_falls_silent_within_a_claim_keeps_the_job_no_longer_than_a_lease(
    url: str, tmp_path: Path, make_model: Callable[[], Model]
) -> None:
    settings = Settings(home=tmp_path, database_url=url, lease_seconds=1)
    platform = bootstrap.build(settings)
    job = a_job(make_model())

    def claim() -> bool:
        with platform.transactions() as work:
            claimed = work[Jobs].claim("another", settings.lease_seconds, 3)
            work.commit()
        return claimed is not None

    with platform.transactions() as work:
        work[Jobs].add(job)
        work.commit()
    with platform.transactions() as silent:
        assert silent[Jobs].claim("silent", settings.lease_seconds, 3) is not None
        assert not claim()
        wait_for(claim, seconds=10)
        with pytest.raises(DatabaseUnavailable):
            silent.commit()
    with platform.transactions() as work:
        assert [row.owner for row in work[Gauges].running()] == ["another"]
    bootstrap.close(platform)
