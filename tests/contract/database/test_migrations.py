import os
import subprocess
import sys

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from core.database.engine import open_engine
from core.database.migrate import METADATA, MIGRATIONS
from core.database.schema import REVISION
from tests.support.places import ROOT


def tables_of(url: str) -> set[str]:
    engine = open_engine(url)
    names = set(sqlalchemy.inspect(engine).get_table_names())
    engine.dispose()
    return names


@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based")
@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based")
def test_migrated_database_matches_the_tables(url: str) -> None:
    engine = open_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
    engine.dispose()
    assert tables_of(url) == {*METADATA.tables, "alembic_version"}


def test_newest_migration_is_the_one_that_the_database_needs() -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_heads() == [REVISION]


def test_many_processes_may_migrate_at_once(empty_url: str) -> None:
    code = "import sys; from core.database.migrate import migrate; migrate(sys.argv[1])"
    running = [subprocess.Popen([sys.executable, "-c", code, empty_url]) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert tables_of(empty_url) == {*METADATA.tables, "alembic_version"}


def test_operator_migrates_by_hand(empty_url: str) -> None:
    root = ROOT
    subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", "head"],
        cwd=root,
        env={**os.environ, "PERENNIAL_DATABASE_URL": empty_url},
        check=True,
        capture_output=True,
    )
    assert tables_of(empty_url) == {*METADATA.tables, "alembic_version"}
