"""A back-up is neither made nor restored where that could lose rows or mix them."""

from pathlib import Path
from typing import Any

import pytest

from core.backup import backup as backups
from core.backup.backup import back_up, restore
from core.backup.dump import Snapshot
from core.database.migrate import migrate
from core.errors import Conflict, FieldInvalid, NotFound, UnsafeConfiguration
from core.settings import Settings
from tests.support.scene import Scene
from tests.support.storage.contents import rows_of
from tests.support.storage.databases import writing
from tests.support.storage.lived import BOTH, opened


@BOTH
def test_a_database_with_rows_is_left_alone(settings: Settings, folder: Path) -> None:
    back_up(settings, folder)
    before = rows_of(settings.database)
    with pytest.raises(Conflict, match="already has"):
        restore(settings, folder)
    assert rows_of(settings.database) == before


def test_a_database_that_is_used_meanwhile_is_left_alone(
    settings: Settings, elsewhere: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(settings, folder)
    real = backups.copy_artifacts

    def copy(*given: Any) -> None:
        real(*given)
        migrate(elsewhere.database)
        with opened(elsewhere) as platform:
            Scene(platform.transactions, platform.artifacts)  # adds the default policy

    monkeypatch.setattr(backups, "copy_artifacts", copy)
    with pytest.raises(Conflict, match="already has audit_events"):
        restore(elsewhere, folder)
    assert rows_of(elsewhere.database)["jobs"] == []


def test_a_back_up_of_another_version_is_refused(
    settings: Settings, elsewhere: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        real = Snapshot.dump
        patch.setattr(Snapshot, "dump", lambda self, put: {**real(self, put), "revision": "f" * 12})
        back_up(settings, folder)
    with pytest.raises(Conflict, match="with the version that made it"):
        restore(elsewhere, folder)
    assert not elsewhere.artifacts.exists()


def test_a_database_of_another_version_is_not_backed_up(
    empty_url: str, folder: Path, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path / "home", database_url=empty_url)
    with pytest.raises(NotFound):
        back_up(settings, folder)
    migrate(empty_url)
    with writing(empty_url) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0035'")
    with pytest.raises(UnsafeConfiguration, match="has schema 0035"):
        back_up(settings, folder)
    assert not folder.exists()


def test_folders_that_are_no_back_up_are_told(
    settings: Settings, elsewhere: Settings, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "nowhere"):
        with pytest.raises(NotFound):
            restore(elsewhere, tmp_path / name)
    with pytest.raises(FieldInvalid):
        back_up(settings, settings.home)
