"""A database that another version of Perennial made is refused, and stays as it is."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, make_url

from core.database.migrate import migrate
from core.database.schema import REVISION
from core.errors import UnsafeConfiguration
from tests.support.storage.databases import writing

COMMANDS = {
    "migrate": ["cli", "migrate"],
    "serve": ["cli", "serve", "--port", "0"],
    "gc": ["cli", "gc"],
    "worker": ["worker.supervision"],
    "inference": ["worker.inference"],
}


@pytest.fixture(params=["0035", "f00000000000", None])
def other_url(request: pytest.FixtureRequest, empty_url: str) -> str:
    """A database with rows, and with a schema of before, of after, or one that is not named."""
    return made_by_another(empty_url, request.param)


def made_by_another(url: str, revision: str | None) -> str:
    migrate(url)
    with writing(url) as connection:
        connection.exec_driver_sql("INSERT INTO tallies VALUES ('jobs', '{}', 1)")
        if revision is None:
            connection.exec_driver_sql("DROP TABLE alembic_version")
        else:
            connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")
    return url


def contents(url: str) -> Any:
    """The bytes of a file, or the tables and rows of a database on a server."""
    where = make_url(url)
    if where.get_backend_name() == "sqlite":
        files = Path(str(where.database)).parent.glob(f"{Path(str(where.database)).name}*")
        return {file.name: file.read_bytes() for file in files}
    with writing(url) as connection:
        names = sorted(inspect(connection).get_table_names())
        rows = {
            name: connection.exec_driver_sql(f"SELECT *, xmin FROM {name}").all()
            for name in {"tallies", "alembic_version"} & set(names)
        }
    return names, rows


def test_a_database_of_another_version_is_refused_and_not_changed(other_url: str) -> None:
    before = contents(other_url)
    with pytest.raises(UnsafeConfiguration, match="start this one with an empty database"):
        migrate(other_url)
    assert contents(other_url) == before


@pytest.mark.parametrize("empty_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", COMMANDS)
def test_every_process_says_so_and_ends(empty_url: str, tmp_path: Path, name: str) -> None:
    before = contents(made_by_another(empty_url, "0035"))
    environment = {
        "PERENNIAL_HOME": str(tmp_path),
        "PERENNIAL_DATABASE_URL": empty_url,
        "PERENNIAL_INFERENCE_KEY": "pk_" + "k" * 40,
    }
    done = subprocess.run(
        [sys.executable, "-m", *COMMANDS[name]],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"perennial: This version of Perennial needs a database with schema {REVISION}, but the "
        "database has schema 0035: "
    )
    assert done.stderr.count("\n") == 1
    assert contents(empty_url) == before


def test_tables_of_others_do_not_matter(empty_url: str) -> None:
    with writing(empty_url) as connection:
        connection.exec_driver_sql("CREATE TABLE others (id INTEGER)")
    migrate(empty_url)
    migrate(empty_url)
