"""What every run begins with, and servers, each of which starts when the first test asks for it."""

import gc
import logging
import os
from collections.abc import Iterator

import pytest
from redis import Redis
from sqlalchemy import Engine, create_engine
from structlog.stdlib import ProcessorFormatter

from building import gate_rules, reply_types, sync_client
from core import bootstrap  # noqa: F401  (fills the hooks, as every process does)
from core.database.migrate import METADATA, migrate
from devtools.servers import FAST, postgres_server, redis_server, run_sql
from tests.support.servers.collector import Collector, collecting
from tests.support.servers.issuer import Issuer, an_issuer
from tests.support.servers.receiver import Receiver, receiving
from tests.support.storage.shared_statements import share_statements
from tests.support.storage.unsynced import leave_unsynced

# What the client has of other files, lest tests run with that of an earlier change. It is written
# before the conftest files of folders are loaded, some of which import the client.
if "PYTEST_XDIST_WORKER" not in os.environ:
    sync_client.write()
    reply_types.write()
    gate_rules.write()

# Tests compare with what a CPU computes, also where there is a GPU; those of `tests/gpu` name it.
os.environ.setdefault("PERENNIAL_DEVICE", "cpu")
# The tests of OpenVINO name it: it takes half a second more a version.
os.environ.setdefault("PERENNIAL_ENGINE", "onnx")
os.environ["PERENNIAL_SPLIT"] = "digest"  # so that images fall where they fell last time

share_statements()
leave_unsynced()

gc.disable()  # while the tests are loaded: a third of the time would go to looking for garbage


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of `tests/contract`, whose conftest is loaded too late for that."""
    parser.addoption("--each-database", action="store_true", help="run every story on both")


def pytest_collection_finish() -> None:
    """Exempt what is loaded from garbage collection, and begin it."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def configured_logs() -> Iterator[None]:
    """Take away the log handler that a test has configured; its stream ends with the test."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    for handler in root.handlers[:]:
        if isinstance(handler.formatter, ProcessorFormatter) and handler not in before:
            root.removeHandler(handler)
            root.setLevel(level)


_EMPTY = "".join(f'DELETE FROM "{table}";' for table in METADATA.tables)


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """A PostgreSQL server's URL with `{name}` for the database; `contract` is migrated."""
    with postgres_server(FAST) as server:
        run_sql(server.url, "postgres", "CREATE DATABASE contract")
        migrate(server.url.format(name="contract"))
        yield server.url


@pytest.fixture(scope="session")
def cleaner(server: str) -> Iterator[Engine]:
    """Keeps a connection to the database `contract` for emptying it; foreign keys rest there."""
    engine = create_engine(
        server.format(name="contract"),
        connect_args={"options": "-c lock_timeout=5s -c session_replication_role=replica"},
        isolation_level="AUTOCOMMIT",
        pool_pre_ping=True,  # a test may have cut it
    )
    yield engine
    engine.dispose()


@pytest.fixture
def postgres_url(server: str, cleaner: Engine) -> Iterator[str]:
    """The URL of a migrated PostgreSQL database without rows."""
    yield server.format(name="contract")
    # Much faster than a database a test, or a new connection, which would read the catalogue anew.
    with cleaner.connect() as connection:
        connection.execution_options(no_parameters=True).exec_driver_sql(_EMPTY)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with redis_server() as server:
        yield server.url


@pytest.fixture(scope="session")
def issuer() -> Iterator[Issuer]:
    with an_issuer() as made:
        yield made


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A receiver of traces that has received nothing."""
    with collecting() as made:
        yield made


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of webhooks that has received nothing."""
    with receiving() as made:
        yield made


@pytest.fixture(params=["embedded", "servers"])
def back_end(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """SQLite and the file-system broker, or PostgreSQL and Redis: every `Settings` will say so."""
    chosen: str = request.param
    if chosen == "servers":
        database, broker = map(request.getfixturevalue, ("postgres_url", "redis_url"))
        with Redis.from_url(broker) as redis:
            redis.flushall()
        monkeypatch.setenv("PERENNIAL_DATABASE_URL", database)
        monkeypatch.setenv("PERENNIAL_BROKER_URL", broker)
    return chosen
