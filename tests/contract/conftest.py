"""Every test of this folder that takes `transactions` runs on SQLite and on PostgreSQL."""

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from core.adapters.database.migrate import migrate
from core.adapters.database.unit_of_work import SqlTransactions
from core.domain.version import Model
from core.ports import Transactions
from tests.contract.postgres import postgres
from tests.factories import a_model, a_policy

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """A PostgreSQL server's URL with `{name}` for the database; `template` is migrated."""
    with postgres() as url:
        run_sql(url, "CREATE DATABASE template")
        migrate(url.format(name="template"))
        yield url


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
    else:
        yield from temporary_database(request.getfixturevalue("server"), "template0")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a migrated database of the test's own."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_file"), tmp_path / "test.db")
        yield f"sqlite:///{tmp_path / 'test.db'}"
    else:
        yield from temporary_database(request.getfixturevalue("server"), "template")


@pytest.fixture
def transactions(url: str) -> Iterator[SqlTransactions]:
    """Transactions on a migrated database of the test's own."""
    opened = SqlTransactions(url)
    yield opened
    opened.close()


@pytest.fixture
def make_model(transactions: Transactions) -> Callable[[], Model]:
    """Stores a model, so that it may have jobs."""

    def make() -> Model:
        policy = a_policy()
        model = a_model(policy)
        with transactions() as work:
            work.policies.add(policy)
            work.models.add(model)
            work.commit()
        return model

    return make


@pytest.fixture
def model(make_model: Callable[[], Model]) -> Model:
    """A stored model."""
    return make_model()


def temporary_database(server: str, template: str) -> Iterator[str]:
    """A copy of a database, dropped at the end: a server with hundreds stops slowly."""
    name = f"test{next(_numbers)}"
    run_sql(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield server.format(name=name)
    run_sql(server, f"DROP DATABASE {name} WITH (FORCE)")


def run_sql(server: str, statement: str) -> None:
    """Run a statement that no transaction may hold."""
    where = server.format(name="postgres").replace("+psycopg", "")
    with psycopg.connect(where, autocommit=True) as connection:
        connection.execute(statement)
