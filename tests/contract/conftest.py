"""Every test of this folder that takes `transactions` runs on SQLite and on PostgreSQL.

The stories of some rooms and files take long and run the statements of others; there, each test
runs on one of the two, and with `--each-database` on both (`make test-databases`).
"""

import itertools
import logging
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import pytest

from core.artifacts.s3 import S3Artifacts
from core.artifacts.s3_requests import Clients, S3Location
from core.database.migrate import migrate
from core.database.work import Transactions
from core.gate.rows import Policies
from core.registry.rows import Models
from core.registry.versions import Model
from devtools.servers import CREDENTIALS, s3_server
from tests.support.evaluation.blamed import Blamed, a_blamed_model
from tests.support.factories import a_model, a_policy
from tests.support.memory_artifacts import MemoryArtifacts
from tests.support.notifiers import RecordingNotifier
from tests.support.scene import Scene
from tests.support.storage.databases import KINDS, Databases

_numbers = itertools.count(1)

STORIES = {"advice", "blame", "comparison", "erasure", "evaluation", "training", "vectors"}
STORIES |= {"test_growing.py", "test_growing_holdouts.py", "test_verdicts.py"}  # of the registry


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out each story on the database that its name does not draw, if it has both."""
    if config.getoption("--each-database"):
        return
    databases = defaultdict[tuple[Path, str], set[str]](set)
    stories = [one for one in items if isinstance(one, pytest.Function) and _is_story(one)]
    for one in stories:
        databases[one.path, one.originalname].add(one.callspec.params["url"])
    left_out: set[pytest.Item] = {
        one
        for one in stories
        if len(databases[one.path, one.originalname]) > 1
        and one.callspec.params["url"] != KINDS[crc32(one.originalname.encode()) % len(KINDS)]
    }
    config.hook.pytest_deselected(items=[*left_out])
    items[:] = [one for one in items if one not in left_out]


def _is_story(test: pytest.Function) -> bool:
    """True if it is long, and runs on one database or on each."""
    if not STORIES & {test.path.parent.name, test.path.name}:
        return False
    return hasattr(test, "callspec") and "url" in test.callspec.params


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def databases(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Databases:
    """A maker of databases of both kinds."""
    folder = tmp_path_factory.mktemp("databases")
    return Databases(folder, lambda: str(request.getfixturevalue("server")))


@pytest.fixture(params=KINDS)
def empty_url(request: pytest.FixtureRequest, databases: Databases) -> str:
    """The URL of a database without tables."""
    return databases.fresh(request.param)


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a migrated database without rows."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_file"), tmp_path / "test.db")
        return f"sqlite:///{tmp_path / 'test.db'}"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def transactions(url: str) -> Iterator[Transactions]:
    """Transactions on a migrated database without rows."""
    opened = Transactions(url)
    yield opened
    opened.close()


@pytest.fixture
def make_model(transactions: Transactions) -> Callable[[], Model]:
    """Stores a model, so that it may have jobs."""

    def make() -> Model:
        policy = a_policy()
        model = a_model(policy)
        with transactions() as work:
            work[Policies].add(policy)
            work[Models].add(model)
            work.commit()
        return model

    return make


@pytest.fixture
def model(make_model: Callable[[], Model]) -> Model:
    return make_model()


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    with s3_server() as (url, _):
        yield url


@pytest.fixture(scope="session")
def s3_clients(s3_url: str) -> Iterator[Clients]:
    """Connected clients: making them takes longer than most tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        clients = _place("bucket0", s3_url).connect()
    yield clients
    for client in clients:
        client.close()


@pytest.fixture
def s3(s3_url: str, s3_clients: Clients, monkeypatch: pytest.MonkeyPatch) -> S3Artifacts:
    """An empty store in a bucket of the test's own, below a prefix."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    bucket = f"bucket{next(_numbers)}"
    s3_clients.usual.create_bucket(Bucket=bucket)
    opened = S3Artifacts(_place(bucket, s3_url))
    opened._connected = s3_clients
    return opened


def _place(bucket: str, url: str) -> S3Location:
    place = S3Location.of(
        f"s3://{bucket}/some/prefix", scratch=Path(), endpoint=url, region="us-east-1"
    )
    return replace(place, large_bytes=5 << 20, part_bytes=5 << 20)


@pytest.fixture
def artifacts() -> MemoryArtifacts:
    return MemoryArtifacts()


@pytest.fixture
def scene(transactions: Transactions, artifacts: MemoryArtifacts) -> Scene:
    """A platform without rows, on each kind of database in turn."""
    return Scene(transactions, artifacts)


@pytest.fixture
def notifier() -> RecordingNotifier:
    return RecordingNotifier()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The lines that are logged from level INFO on."""
    caplog.set_level(logging.INFO)
    return caplog


@pytest.fixture
def blamed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Blamed:
    return a_blamed_model(scene, monkeypatch)
