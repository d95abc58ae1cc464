"""Every test of this folder talks to a whole service: real database, store and decoder.

Each runs on SQLite with the file-system broker and on PostgreSQL with Redis.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, insert

from core import bootstrap
from core.access.keys import ensure_admin_key
from core.backup.dump import POSITION, advance_sequence
from core.database.migrate import METADATA
from core.datasets.thumbnail_rows import ensure_split
from core.gate.policies import ensure_default_policy
from core.images.sandbox import Limits, SandboxDecoder
from core.principal import Role
from core.settings import Settings
from tests.support.api.browsing import Browser, browser_of, make_line
from tests.support.api.oracle import Oracle, an_oracle
from tests.support.api.orders import a_dataset
from tests.support.api.seeds import a_root
from tests.support.api.service import KEY, Service, running, settings_of
from tests.support.scene import Scene
from tests.support.storage.databases import rows_of


class Lasting(SandboxDecoder):
    """A decoder that a service leaves to the next one with equal limits."""

    def close(self) -> None: ...


Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="session", autouse=True)
def decoders() -> Iterator[None]:
    """Decoding processes that outlast services: to start them takes longer than most tests."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:

        @cache
        def lasting(limits: Limits, *, processes: int) -> Lasting:
            made = Lasting(limits, processes=processes)
            stack.callback(SandboxDecoder.close, made)
            return made

        patch.setattr(bootstrap, "SandboxDecoder", lasting)
        yield


@pytest.fixture(scope="session")
def migrated_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose database has the schema, the key and the default policy; to copy."""
    home = tmp_path_factory.mktemp("home")
    settings = settings_of(home)
    bootstrap.migrate(settings)
    with bootstrap.opened(settings) as platform:
        ensure_admin_key(platform)
        ensure_default_policy(platform)
        ensure_split(platform)
    return home


@pytest.fixture(scope="session")
def ready_home(migrated_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that also has what `ready` promises; to copy."""
    home = Path(shutil.copytree(migrated_home, tmp_path_factory.mktemp("ready") / "home"))
    with running(settings_of(home)) as service:
        a_root(service.platform)
        a_dataset(service, "products", boot=0, bag=3)
    return home


@pytest.fixture(scope="session")
def ready_rows(ready_home: Path) -> Rows:
    """The rows of its database."""
    return rows_of(f"sqlite:///{ready_home / 'perennial.db'}")


@pytest.fixture
def home(
    request: pytest.FixtureRequest,
    migrated_home: Path,
    ready_home: Path,
    ready_rows: Rows,
    tmp_path: Path,
    back_end: str,
) -> Path:
    """A migrated home of the test's own; its database lies there or on the server."""
    home = tmp_path / "home"
    ready = "ready" in request.fixturenames
    shutil.copytree(ready_home if ready else migrated_home, home)
    if back_end == "servers":
        (home / "perennial.db").unlink()
        if ready:
            _insert(ready_rows, request.getfixturevalue("cleaner"))
    return home


def _insert(rows: Rows, server: Engine) -> None:
    with server.connect() as connection:
        for name, found in rows.items():
            table = METADATA.tables[name]
            if found:
                connection.execute(insert(table), found)
            if table.primary_key.columns.keys() == [POSITION]:
                advance_sequence(connection, table)


@pytest.fixture
def settings(home: Path) -> Settings:
    """Settings of the test's own; override to test caps."""
    return settings_of(home)


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    """A running stand-in for the inference process."""
    with an_oracle() as made:
        yield made


@pytest.fixture
def service(settings: Settings) -> Iterator[Service]:
    """A running service and a client with its key."""
    assert settings.admin_key.get_secret_value() == KEY
    with running(settings) as found:
        yield found


@pytest.fixture
def ready(service: Service) -> Service:
    """A service with the model `demo` and a frozen dataset `products` of two classes.

    `home` has put them there: to make them takes longer than most tests.
    """
    return service


@pytest.fixture(scope="module")
def shared_service(ready_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that the tests of a file share; its model is `demo`, and its client has no key."""
    home = tmp_path_factory.mktemp("pages") / "home"
    shutil.copytree(ready_home, home)
    with running(settings_of(home)) as made:
        made.client.headers.pop("Authorization")
        yield made


@pytest.fixture(scope="module")
def viewer(shared_service: Service) -> Browser:
    """A browser of a viewer."""
    return browser_of(shared_service, Role.VIEWER)


@pytest.fixture(scope="module")
def operator(shared_service: Service) -> Browser:
    """A browser of an operator."""
    return browser_of(shared_service, Role.OPERATOR)


@pytest.fixture(scope="module")
def admin(shared_service: Service) -> Browser:
    """A browser of an administrator."""
    return browser_of(shared_service, Role.ADMIN)


@pytest.fixture(scope="module")
def stranger(shared_service: Service) -> Browser:
    """A browser that is not signed in."""
    return Browser(client=shared_service.client)


@pytest.fixture(scope="module")
def line(shared_service: Service) -> Iterator[Scene]:
    """The model `line`, see `make_line`."""
    with pytest.MonkeyPatch.context() as patch:
        yield make_line(shared_service.platform, patch)
