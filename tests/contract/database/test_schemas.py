"""The schema: made once at the first start; that of another version is refused and stays."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import SecretStr
from sqlalchemy import inspect, make_url

from core.access.authenticate import find_secrets, holder_of
from core.access.keys import ensure_admin_key
from core.access.rows import Keys
from core.database.engine import open_engine
from core.database.migrate import METADATA, migrate
from core.database.schema import MIGRATIONS, REVISION
from core.database.work import Transactions
from core.errors import UnsafeConfiguration
from core.gate.policies import DEFAULT_POLICY, ensure_default_policy
from core.gate.rows import Policies
from core.gate.rules import GatePolicy
from core.platform import Platform
from core.principal import Principal, Role
from core.settings import Settings
from core.values import PolicyId, sha256
from tests.support.factories import NOW, a_key
from tests.support.memory_artifacts import MemoryArtifacts
from tests.support.storage.databases import commit_beside, writing

KEY = "pk_of-both"


def platform_of(transactions: Transactions) -> Platform:
    return Platform(
        settings=Settings(admin_key=SecretStr(KEY)),
        transactions=transactions,
        artifacts=MemoryArtifacts(),
        clock=lambda: NOW,
    )


def test_default_policy_is_made_once(transactions: Transactions) -> None:
    platform = platform_of(transactions)
    policy = GatePolicy(id=PolicyId("gate_default"), name=DEFAULT_POLICY, created_at=NOW)
    with transactions() as work:
        work[Policies].add(policy)
        commit_beside(work, ensure_default_policy, platform).result()
    with transactions(read_only=True) as work:
        assert work[Policies].get(DEFAULT_POLICY) == policy


def test_given_key_is_let_in_once(transactions: Transactions) -> None:
    platform, admin = platform_of(transactions), a_key(name="admin")
    with transactions() as work:
        work[Keys].add(admin, sha256(KEY.encode()))
        commit_beside(work, ensure_admin_key, platform).result()
    holder = Principal(name="admin", role=Role.ADMIN, key=admin.id)
    (found,) = find_secrets(platform, [sha256(KEY.encode())]).values()
    assert holder_of(found.key) == holder
    with transactions(read_only=True) as work:
        assert work[Keys].page(9, None) == [admin]


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
    running = [subprocess.Popen([sys.executable, "-c", code, empty_url]) for _ in range(2)]
    assert [process.wait(60) for process in running] == [0, 0]
    assert tables_of(empty_url) == {*METADATA.tables, "alembic_version"}


COMMANDS = {
    "migrate": ["cli", "migrate"],
    "serve": ["cli", "serve", "--port", "0"],
    "gc": ["cli", "gc"],
    "worker": ["worker.supervision"],
    "inference": ["worker.inference"],
}


@pytest.fixture(params=["0035", "f00000000000", None])
def other_url(request: pytest.FixtureRequest, empty_url: str) -> str:
    """A database with rows, and with a schema of before, of after, or one that is not named."""
    return made_by_another(empty_url, request.param)


def made_by_another(url: str, revision: str | None) -> str:
    migrate(url)
    with writing(url) as connection:
        connection.exec_driver_sql("INSERT INTO tallies VALUES ('jobs', '{}', 1)")
        if revision is None:
            connection.exec_driver_sql("DROP TABLE alembic_version")
        else:
            connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")
    return url


def contents(url: str) -> Any:
    """The bytes of a file, or the tables and rows of a database on a server."""
    where = make_url(url)
    if where.get_backend_name() == "sqlite":
        files = Path(str(where.database)).parent.glob(f"{Path(str(where.database)).name}*")
        return {file.name: file.read_bytes() for file in files}
    with writing(url) as connection:
        names = sorted(inspect(connection).get_table_names())
        rows = {
            name: connection.exec_driver_sql(f"SELECT *, xmin FROM {name}").all()
            for name in {"tallies", "alembic_version"} & set(names)
        }
    return names, rows


def test_a_database_of_another_version_is_refused_and_not_changed(other_url: str) -> None:
    before = contents(other_url)
    with pytest.raises(UnsafeConfiguration, match="start this one with an empty database"):
        migrate(other_url)
    assert contents(other_url) == before


@pytest.mark.parametrize("empty_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", COMMANDS)
def test_every_process_says_so_and_ends(empty_url: str, tmp_path: Path, name: str) -> None:
    before = contents(made_by_another(empty_url, "0035"))
    environment = {
        "PERENNIAL_HOME": str(tmp_path),
        "PERENNIAL_DATABASE_URL": empty_url,
        "PERENNIAL_INFERENCE_KEY": "pk_" + "k" * 40,
    }
    done = subprocess.run(
        [sys.executable, "-m", *COMMANDS[name]],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"perennial: This version of Perennial needs a database with schema {REVISION}, but the "
        "database has schema 0035: "
    )
    assert done.stderr.count("\n") == 1
    assert contents(empty_url) == before
