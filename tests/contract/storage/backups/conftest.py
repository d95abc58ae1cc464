"""A service that is backed up, and where it is restored."""

from pathlib import Path

import pytest

from core.settings import Settings
from tests.support.storage.lived import Databases


@pytest.fixture(scope="session")
def databases(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Databases:
    folder = tmp_path_factory.mktemp("databases")
    return Databases(folder, lambda: str(request.getfixturevalue("server")))


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    """The database that is backed up: SQLite, unless a test says that it matters."""
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture
def settings(databases: Databases, kind: str, tmp_path: Path) -> Settings:
    """The service that is backed up."""
    return databases.lived(kind, tmp_path / "home")


@pytest.fixture
def elsewhere(tmp_path: Path, databases: Databases) -> Settings:
    """The place where it is restored."""
    return Settings(home=tmp_path / "elsewhere", database_url=databases.fresh("sqlite"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backup"
