import os
import subprocess
import sys
from contextlib import closing
from dataclasses import replace

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from core.adapters.database.engine import open_engine
from core.adapters.database.migrate import METADATA, migrate, revert
from core.adapters.database.tables.schema import reflect
from core.adapters.database.unit_of_work import SqlTransactions
from core.domain.access.roles import Role
from core.domain.datasets.dataset import DatasetRef
from core.domain.jobs.order import UpdateOrder
from core.domain.values import Digest, JobId
from core.ports import UnitOfWork
from tests.support.old_rows.first_release import (
    BYTES,
    DATASET,
    MANIFEST,
    MODEL,
    PIXELS,
    POLICY,
    REPORT,
    SUITE,
    WEIGHTS,
    WHEN,
)
from tests.support.old_rows.rows import read_rows, revisions, rows_at, write_rows, writing
from tests.support.places import ROOT
from tests.support.storage.databases import KINDS, Databases

ADDED_TO = {"jobs", "job_metadata", "versions"}  # by `work_goes_on`


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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("revision", revisions())
def test_rows_of_every_revision_survive_the_way_up_and_down(
    databases: Databases, kind: str, revision: str
) -> None:
    url = databases.past(kind, revision)
    with writing(url) as connection:
        write_rows(connection, revision)
        before = read_rows(connection)
    assert all(before.values()), "a table without rows"

    migrate(url)
    go_on(url)
    revert(url, revision)

    with writing(url) as connection:
        after = read_rows(connection)
    assert {table: len(rows) for table, rows in after.items()} == {
        table: len(rows) + (table in ADDED_TO) for table, rows in before.items()
    }
    for table in before.keys() - {"jobs"}:  # whose first was claimed in between
        assert set(before[table]) <= set(after[table])


def test_rows_survive_a_second_way_up(empty_url: str) -> None:
    first = revisions()[0]
    migrate(empty_url, first)
    with writing(empty_url) as connection:
        write_rows(connection, first)
    migrate(empty_url)
    go_on(empty_url)
    revert(empty_url, first)
    migrate(empty_url)
    with closing(SqlTransactions(empty_url)) as transactions, transactions() as work:
        assert_readable(work)


def go_on(url: str) -> None:
    with closing(SqlTransactions(url)) as transactions, transactions() as work:
        assert_readable(work)
        work_goes_on(work)
        work.commit()


def assert_readable(work: UnitOfWork) -> None:
    """Every repository reads what an earlier release wrote."""
    (dataset,), (suite,), (policy,) = (
        work.datasets.page(9, None),
        work.suites.page(9, None),
        work.policies.page(9, None),
    )
    assert (dataset.created_at, suite.classes, policy.alpha) == (WHEN, ("cat",), 0.05)
    (image,) = work.datasets.images(dataset.id)
    assert (image.image.artifact, image.text) == (BYTES, "cat")
    assert work.datasets.version(dataset.id, 1).manifest == MANIFEST
    assert work.suites.contains([PIXELS]) == {PIXELS}
    (model,) = work.models.page(9, None)
    assert model.suites == (SUITE,)
    version = work.versions.get(model.id, 1)
    assert (version.digest, version.size, version.report) == (WEIGHTS, 2**40, REPORT)
    assert work.aliases.get(model.id, "production").version == 1
    assert [move.actor for move in work.aliases.history(model.id, "production")] == ["import"]
    done, job = work.jobs.get(JobId("job_2")), work.jobs.get(JobId("job_1"))
    assert (done.result or {})["report"] == REPORT
    assert isinstance(job.order, UpdateOrder)
    assert (job.order.dataset, job.order.reference) == (DATASET, None)
    assert job.progress.terms == {"loss": 0.5}
    assert [event.kind for event in work.jobs.events(job.id, 9, 0)] == ["queued"]
    held = work.keys.find(Digest("6" * 64))
    assert held is not None
    assert (held.key.name, held.key.role, held.key.models) == ("admin", Role.ADMIN, None)
    assert held.lets_in(Digest("6" * 64), WHEN)
    reply = work.idempotency.find("admin", "once")
    assert reply is not None
    assert reply.job == job.id
    question = Digest("8" * 64)
    assert work.answers.stored([WEIGHTS], [question]) == {(WEIGHTS, question): "9" * 64}
    assert [beat.worker for beat in work.heartbeats.all()] == ["host:1:2"]


def work_goes_on(work: UnitOfWork) -> None:
    """Run the jobs that an earlier release has queued, and store new rows beside the old ones."""
    job = work.jobs.claim("w", 60, 3)
    assert job is not None
    assert job.id == "job_1"
    work.jobs.pin(job.id, job.fence, suites=[SUITE], policy=POLICY)
    pinned = work.jobs.get(job.id)
    assert (pinned.suites, pinned.policy) == ((SUITE,), POLICY)
    named = DatasetRef(dataset=DATASET, version=1)
    first = work.versions.get(MODEL, 1)
    kept = {"cat": Digest("b" * 64)}
    second = replace(first, number=2, notes={"mixing": 0.7}, reference=named)
    work.versions.add(replace(second, feature_statistics=kept))
    added = work.versions.get(MODEL, 2)
    assert (added.notes, added.reference) == ({"mixing": 0.7}, named)
    assert added.feature_statistics == kept
    work.jobs.add(replace(work.jobs.get(JobId("job_2")), id=JobId("job_3"), priority=9))
    assert work.jobs.get(JobId("job_3")).priority == 9


def test_old_jobs_are_found_by_their_metadata_and_those_of_an_old_process(empty_url: str) -> None:
    migrate(empty_url, "0023")
    with writing(empty_url) as connection:
        write_rows(connection, "0023")
    migrate(empty_url)
    with writing(empty_url) as connection:  # as the release before does until it is restarted
        table = reflect(connection).tables["jobs"]
        row = {**rows_at("0023")["jobs"][0], "id": "job_9", "metadata": {"ticket": "9"}}
        connection.execute(table.insert().values(row))
    with closing(SqlTransactions(empty_url)) as transactions, transactions() as work:
        found = {
            value: [one.job.id for one in work.jobs.named_page(9, None, metadata=("ticket", value))]
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
    with closing(SqlTransactions(empty_url)) as transactions, transactions() as work:
        version, job = work.versions.get(MODEL, 1), work.jobs.get(JobId("job_1"))
        assert (version.notes, version.reference, version.collected_at) == ({}, None, None)
        assert (version.feature_statistics, work.references.feature_statistics()) == ({}, set())
        assert (job.suites, job.policy, job.priority, job.pauses) == (None, None, 0, 0)
        assert [m.override for m in work.aliases.history(MODEL, "production")] == [False]
        policy = work.policies.get(POLICY)
        assert (policy.budget, policy.line_updates, policy.negative_flips) == (None, 100, None)
        assert work.counters.all() == []


def test_keys_of_one_name_stay_admins_under_two(empty_url: str) -> None:
    migrate(empty_url, "0012")
    with writing(empty_url) as connection:
        keys = reflect(connection).tables["keys"]
        for n in range(2):
            row = {"digest": str(n) * 64, "name": "admin", "role": "admin", "created_at": WHEN}
            connection.execute(keys.insert().values(row))
    migrate(empty_url)
    with closing(SqlTransactions(empty_url)) as transactions, transactions() as work:
        held = [work.keys.find(Digest(str(n) * 64)) for n in range(2)]
    assert [one and (one.key.name, one.key.role) for one in held] == [
        ("admin", Role.ADMIN),
        ("admin-2", Role.ADMIN),
    ]


def test_many_processes_may_migrate_at_once(empty_url: str) -> None:
    code = "import sys; from core.adapters.database.migrate import migrate; migrate(sys.argv[1])"
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
