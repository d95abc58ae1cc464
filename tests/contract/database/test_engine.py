"""What an error of the database tells a log."""

from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from core.adapters.database.engine import open_engine


def test_an_error_names_no_parameter(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'x.db'}")
    with engine.begin() as connection, pytest.raises(SQLAlchemyError) as failed:
        connection.execute(text("insert into nowhere values (:name)"), {"name": "holiday.jpg"})
    engine.dispose()
    assert "nowhere" in str(failed.value)
    assert "holiday" not in str(failed.value)
