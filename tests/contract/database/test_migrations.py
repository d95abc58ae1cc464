import os
import subprocess
import sys
from contextlib import closing

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from core.access.rows import Keys
from core.database.engine import open_engine
from core.database.migrate import METADATA, migrate, revert
from core.database.tables import reflect
from core.database.work import Transactions
from core.gate.rows import Policies
from core.jobs.claim_rows import Counters
from core.jobs.rows import Jobs
from core.principal import Role
from core.registry.alias_rows import Aliases
from core.registry.rows import Versions
from core.upkeep.rows import ArtifactRoots
from core.values import Digest, JobId
from tests.support.old_rows.first_release import MODEL, POLICY, WHEN
from tests.support.old_rows.rows import rows_at, write_rows, writing
from tests.support.places import ROOT


def tables_of(url: str) -> set[str]:
    engine = open_engine(url)
    names = set(sqlalchemy.inspect(engine).get_table_names())
    engine.dispose()
    return names


@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based")
@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based")
def test_migrated_database_matches_the_tables(url: str) -> None:
    engine = open_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
    engine.dispose()
    assert tables_of(url) == {*METADATA.tables, "alembic_version"}


def test_migrations_go_up_and_down_and_up(empty_url: str) -> None:
    migrate(empty_url)
    assert tables_of(empty_url) == {*METADATA.tables, "alembic_version"}
    revert(empty_url, "base")
    assert tables_of(empty_url) == {"alembic_version"}
    migrate(empty_url)
    assert tables_of(empty_url) == {*METADATA.tables, "alembic_version"}


def test_old_jobs_are_found_by_their_metadata_and_those_of_an_old_process(empty_url: str) -> None:
    migrate(empty_url, "0023")
    with writing(empty_url) as connection:
        write_rows(connection, "0023")
    migrate(empty_url)
    with writing(empty_url) as connection:  # as the release before does until it is restarted
        table = reflect(connection).tables["jobs"]
        row = {**rows_at("0023")["jobs"][0], "id": "job_9", "metadata": {"ticket": "9"}}
        connection.execute(table.insert().values(row))
    with closing(Transactions(empty_url)) as transactions, transactions() as work:
        found = {
            value: [
                one.job.id for one in work[Jobs].named_page(9, None, metadata=("ticket", value))
            ]
            for value in ("7", "9", "8", None)
        }
    assert found == {
        "7": ["job_2", "job_1"],
        "9": ["job_9"],
        "8": [],
        None: ["job_9", "job_2", "job_1"],
    }


def test_what_the_first_release_did_not_know_is_empty(empty_url: str) -> None:
    migrate(empty_url, "0001")
    with writing(empty_url) as connection:
        write_rows(connection, "0001")
    migrate(empty_url)
    with closing(Transactions(empty_url)) as transactions, transactions() as work:
        version, job = work[Versions].get(MODEL, 1), work[Jobs].get(JobId("job_1"))
        assert (version.notes, version.reference, version.collected_at) == ({}, None, None)
        assert (version.feature_statistics, work[ArtifactRoots].feature_statistics()) == ({}, set())
        assert (job.suites, job.policy, job.priority, job.pauses) == (None, None, 0, 0)
        assert [m.override for m in work[Aliases].history(MODEL, "production")] == [False]
        policy = work[Policies].get(POLICY)
        assert (policy.budget, policy.line_updates, policy.negative_flips) == (None, 100, None)
        assert work[Counters].all() == []


def test_keys_of_one_name_stay_admins_under_two(empty_url: str) -> None:
    migrate(empty_url, "0012")
    with writing(empty_url) as connection:
        keys = reflect(connection).tables["keys"]
        for n in range(2):
            row = {"digest": str(n) * 64, "name": "admin", "role": "admin", "created_at": WHEN}
            connection.execute(keys.insert().values(row))
    migrate(empty_url)
    with closing(Transactions(empty_url)) as transactions, transactions() as work:
        held = [work[Keys].find(Digest(str(n) * 64)) for n in range(2)]
    assert [one and (one.key.name, one.key.role) for one in held] == [
        ("admin", Role.ADMIN),
        ("admin-2", Role.ADMIN),
    ]


def test_many_processes_may_migrate_at_once(empty_url: str) -> None:
    code = "import sys; from core.database.migrate import migrate; migrate(sys.argv[1])"
    running = [subprocess.Popen([sys.executable, "-c", code, empty_url]) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert tables_of(empty_url) == {*METADATA.tables, "alembic_version"}


def test_operator_migrates_by_hand(empty_url: str) -> None:
    root = ROOT
    subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", "head"],
        cwd=root,
        env={**os.environ, "PERENNIAL_DATABASE_URL": empty_url},
        check=True,
        capture_output=True,
    )
    assert tables_of(empty_url) == {*METADATA.tables, "alembic_version"}
