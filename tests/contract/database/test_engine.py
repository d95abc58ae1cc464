"""Errors of the database as logs show them, and the durability of SQLite."""

import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from core.database.engine import Limits, open_engine
from core.errors import DatabaseUnavailable


def test_an_error_names_no_parameter(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'x.db'}")
    with engine.begin() as connection, pytest.raises(SQLAlchemyError) as failed:
        connection.execute(text("insert into nowhere values (:name)"), {"name": "holiday.jpg"})
    engine.dispose()
    assert "nowhere" in str(failed.value)
    assert "holiday" not in str(failed.value)


def test_sqlite_syncs_each_commit_and_readers_do_not_stop_a_writer(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'x.db'}")
    with engine.connect() as connection:
        told = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
        }
    engine.dispose()
    full = 2
    assert told == {
        "journal_mode": "wal",
        "synchronous": full,
        "foreign_keys": 1,
        "secure_delete": 1,
    }


def test_sqlite_writers_wait_at_their_beginning(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'x.db'}", limits=Limits(lock_s=0.05))
    with engine.begin(), pytest.raises(DatabaseUnavailable), engine.begin():
        pass  # neither has written anything
    engine.dispose()


def test_sqlite_waits_for_whoever_creates_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    engine = open_engine(f"sqlite:///{path}")
    first = sqlite3.connect(path, isolation_level=None)
    first.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor() as threads:
        second = threads.submit(engine.connect)
        time.sleep(0.1)  # without a wait, it is refused within this time
        first.rollback()
        first.close()
        with second.result() as connection:
            assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
    engine.dispose()
