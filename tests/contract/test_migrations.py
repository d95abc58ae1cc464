import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from core.adapters.database.engine import open_engine
from core.adapters.database.migrate import METADATA, migrate, revert
from core.adapters.database.unit_of_work import SqlTransactions
from core.domain.dataset import DatasetRef
from core.domain.update import UpdateOrder
from core.domain.values import DatasetId, JobId, ModelId, SuiteId

MODEL = ModelId("model_1")
FIRST_ORDER = json.dumps(
    {
        "dataset": "ds_1",
        "dataset_version": 1,
        "recipe": {"method": "ft"},
        "alias": "production",
        "parent": None,
        "auto_promote": True,
        "prompt": None,
    }
)
FIRST_ROWS = (
    "INSERT INTO policies VALUES ('gate_1', 'default', 0, 0, 0, 0, 1, 0.1, '', :time)",
    "INSERT INTO models VALUES ('model_1', 'demo', 'gate_1', 1, :time)",
    """INSERT INTO jobs (position, id, type, model, "order", status, phase, progress, attempt, lost,
        fence, metadata, events, created_at) VALUES (1, 'job_1', 'update', 'model_1', :order,
        'queued', 'queued', '{}', 0, 0, 0, '{}', 0, :time)""",
    """INSERT INTO versions (model, number, status, digest, size, job, update_classes, classes,
        prompt, environment, created_at) VALUES ('model_1', 1, 'promoted', :digest, 4, 'job_1',
        '[]', '[]', 'a {name}', '{}', :time)""",
)


@contextmanager
def writing(url: str) -> Iterator[Connection]:
    engine = open_engine(url)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def tables_of(url: str) -> set[str]:
    engine = open_engine(url)
    names = set(sqlalchemy.inspect(engine).get_table_names())
    engine.dispose()
    return names


@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based")
def test_migrated_database_matches_the_tables(url: str) -> None:
    engine = open_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
    engine.dispose()
    assert tables_of(url) == {*METADATA.tables, "alembic_version"}


def test_migrations_go_up_and_down_and_up(empty_url: str) -> None:
    migrate(empty_url)
    assert tables_of(empty_url) == {*METADATA.tables, "alembic_version"}
    revert(empty_url, "base")
    assert tables_of(empty_url) == {"alembic_version"}
    migrate(empty_url)
    assert tables_of(empty_url) == {*METADATA.tables, "alembic_version"}


def test_rows_of_the_first_release_survive_the_way_up_and_down(empty_url: str) -> None:
    migrate(empty_url, "0001")
    values = {"time": "2026-01-01 00:00:00+00:00", "order": FIRST_ORDER, "digest": "0" * 64}
    with writing(empty_url) as connection:
        for statement in FIRST_ROWS:
            connection.execute(text(statement), values)
    migrate(empty_url)
    with closing(SqlTransactions(empty_url)) as transactions, transactions() as work:
        version, job = work.versions.get(MODEL, 1), work.jobs.get(JobId("job_1"))
        assert (version.notes, version.reference, job.suites) == ({}, None, None)
        assert isinstance(job.order, UpdateOrder)
        assert (job.order.dataset, job.order.reference) == ("ds_1", None)
        named = DatasetRef(dataset=DatasetId("ds_1"), version=1)
        work.versions.add(replace(version, number=2, notes={"mixing": 0.6}, reference=named))
        claimed = work.jobs.claim("w", 60, 3)
        assert claimed is not None
        work.jobs.pin_suites(claimed.id, claimed.fence, [SuiteId("suite_1")])
        added = work.versions.get(MODEL, 2)
        assert (added.notes, added.reference) == ({"mixing": 0.6}, named)
        assert work.jobs.get(claimed.id).suites == ("suite_1",)
        work.commit()
    revert(empty_url, "0001")
    with writing(empty_url) as connection:
        assert connection.scalar(text("SELECT count(*) FROM versions")) == 2
    migrate(empty_url)
    with closing(SqlTransactions(empty_url)) as transactions, transactions() as work:
        assert work.versions.get(MODEL, 2).notes == {}


def test_many_processes_may_migrate_at_once(empty_url: str) -> None:
    code = "import sys; from core.adapters.database.migrate import migrate; migrate(sys.argv[1])"
    running = [subprocess.Popen([sys.executable, "-c", code, empty_url]) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert tables_of(empty_url) == {*METADATA.tables, "alembic_version"}


def test_operator_migrates_by_hand(empty_url: str) -> None:
    root = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", "head"],
        cwd=root,
        env={**os.environ, "PERENNIAL_DATABASE_URL": empty_url},
        check=True,
        capture_output=True,
    )
    assert tables_of(empty_url) == {*METADATA.tables, "alembic_version"}
