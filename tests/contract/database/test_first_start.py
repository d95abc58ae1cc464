"""Processes that start for the first time at once, and the schema that they make."""

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import SecretStr

from core.access.authenticate import authenticate
from core.access.keys import ensure_admin_key
from core.access.rows import Keys
from core.database.engine import open_engine
from core.database.migrate import METADATA, MIGRATIONS
from core.database.schema import REVISION
from core.database.work import Transactions, Work
from core.gate.policies import DEFAULT_POLICY, ensure_default_policy
from core.gate.rows import Policies
from core.gate.rules import GatePolicy
from core.platform import Platform
from core.principal import Principal, Role
from core.settings import Settings
from core.values import PolicyId, sha256
from tests.support.factories import NOW, a_key
from tests.support.memory_artifacts import MemoryArtifacts

KEY = "pk_of-both"


def meanwhile(
    transactions: Transactions, first: Callable[[Work], None], second: Callable[[], object]
) -> None:
    """Begin `second` while `first` is written but not yet committed."""
    with ThreadPoolExecutor(1) as pool:
        with transactions() as work:
            first(work)
            other = pool.submit(second)
            time.sleep(0.3)
            work.commit()
        other.result()


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
    meanwhile(
        transactions,
        lambda work: work[Policies].add(policy),
        lambda: ensure_default_policy(platform),
    )
    with transactions(read_only=True) as work:
        assert work[Policies].get(DEFAULT_POLICY) == policy


def test_given_key_is_let_in_once(transactions: Transactions) -> None:
    platform, admin = platform_of(transactions), a_key(name="admin")
    meanwhile(
        transactions,
        lambda work: work[Keys].add(admin, sha256(KEY.encode())),
        lambda: ensure_admin_key(platform),
    )
    holder = Principal(name="admin", role=Role.ADMIN, key=admin.id)
    assert authenticate(platform, [KEY]) == {KEY: holder}
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
