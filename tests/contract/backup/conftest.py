"""A service that is backed up, and where it is restored."""

from pathlib import Path

import pytest

from core.settings import Settings
from tests.support.storage.databases import Databases
from tests.support.storage.lived import LivedServices


@pytest.fixture(scope="session")
def lived(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> LivedServices:
    return LivedServices(tmp_path_factory.mktemp("lived"), databases)


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    """The database that is backed up: SQLite, unless a test says that it matters."""
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture
def settings(lived: LivedServices, kind: str, tmp_path: Path) -> Settings:
    """The service that is backed up."""
    return lived.copy(kind, tmp_path / "home")


@pytest.fixture
def elsewhere(tmp_path: Path, databases: Databases) -> Settings:
    """The place where it is restored."""
    return Settings(home=tmp_path / "elsewhere", database_url=databases.fresh("sqlite"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backup"
