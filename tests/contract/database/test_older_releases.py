"""Rows of every earlier schema: on the way up, from a back-up, and on the way down."""

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, MetaData, select

from core.access.rows import Keys
from core.artifacts.local import LocalArtifacts
from core.artifacts.store import Artifacts
from core.backup.dump import LEFT_OUT, _pack, _to_json_value, fill
from core.database.idempotency import Idempotency
from core.database.migrate import migrate, revert
from core.database.work import Transactions, Work
from core.datasets.rows import Datasets
from core.datasets.rules import DatasetRef
from core.datasets.version_rows import Suites
from core.evaluation.rows import AnswerCache
from core.fleet.rows import Heartbeats
from core.gate.rows import Policies
from core.jobs.orders import UpdateOrder
from core.jobs.rows import Jobs
from core.principal import Role
from core.registry.alias_rows import Aliases
from core.registry.rows import Models, Versions
from core.values import Digest, JobId
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
from tests.support.old_rows.rows import read_rows, revisions, write_rows, writing
from tests.support.storage.contents import rows_of
from tests.support.storage.databases import KINDS, Databases

ADDED_TO = {"jobs", "job_metadata", "versions"}  # by `work_goes_on`


@pytest.mark.parametrize("revision", revisions())
def test_rows_of_every_revision_survive_the_way_up_a_back_up_and_the_way_down(
    databases: Databases, tmp_path: Path, revision: str
) -> None:
    store = LocalArtifacts(tmp_path / "rows")
    urls = [databases.past(kind, revision) for kind in KINDS]
    before, dumps = [], []
    for url in urls:
        with writing(url) as connection:
            tables = write_rows(connection, revision)
            before.append(read_rows(connection))
            dumps.append(dump_of_old(tables, connection, store, revision))
    assert all(before[0].values()), "a table without rows"
    assert dumps[0] == dumps[1]

    elsewhere = databases.fresh("sqlite")
    fill(elsewhere, dumps[0], store.get)
    restored = rows_of(elsewhere)
    for url, written in zip(urls, before, strict=True):
        migrate(url)
        assert rows_of(url) == restored
        go_on(url)
        revert(url, revision)
        with writing(url) as connection:
            after = read_rows(connection)
        assert {table: len(rows) for table, rows in after.items()} == {
            table: len(rows) + (table in ADDED_TO) for table, rows in written.items()
        }
        for table in written.keys() - {"jobs"}:  # whose first was claimed in between
            assert set(written[table]) <= set(after[table])


def dump_of_old(
    tables: MetaData, connection: Connection, store: Artifacts, revision: str
) -> dict[str, Any]:
    """As that release's own `dump` would have spelled it."""
    listed = {}
    for table in tables.sorted_tables:
        if table.name not in {*LEFT_OUT, "alembic_version"}:
            rows = [dict(row) for row in connection.execute(select(table)).mappings()]
            for row in rows:
                for name, value in row.items():
                    if isinstance(value, datetime) and value.tzinfo is None:
                        row[name] = value.replace(tzinfo=UTC)
            plain = _to_json_value
            told = [{name: plain(value) for name, value in row.items()} for row in rows]
            listed[table.name] = {"rows": len(rows), "parts": [store.put(_pack(told))]}
    return {"revision": revision, "tables": listed}


def test_rows_survive_a_second_way_up(empty_url: str) -> None:
    first = revisions()[0]
    migrate(empty_url, first)
    with writing(empty_url) as connection:
        write_rows(connection, first)
    migrate(empty_url)
    go_on(empty_url)
    revert(empty_url, first)
    migrate(empty_url)
    with closing(Transactions(empty_url)) as transactions, transactions() as work:
        assert_readable(work)


def go_on(url: str) -> None:
    with closing(Transactions(url)) as transactions, transactions() as work:
        assert_readable(work)
        work_goes_on(work)
        work.commit()


def assert_readable(work: Work) -> None:
    """Every repository reads what an earlier release wrote."""
    (dataset,), (suite,), (policy,) = (
        work[Datasets].page(9, None),
        work[Suites].page(9, None),
        work[Policies].page(9, None),
    )
    assert (dataset.created_at, suite.classes, policy.alpha) == (WHEN, ("cat",), 0.05)
    (image,) = work[Datasets].images(dataset.id)
    assert (image.image.artifact, image.text) == (BYTES, "cat")
    assert work[Datasets].version(dataset.id, 1).manifest == MANIFEST
    assert work[Suites].contains([PIXELS]) == {PIXELS}
    (model,) = work[Models].page(9, None)
    assert model.suites == (SUITE,)
    version = work[Versions].get(model.id, 1)
    assert (version.digest, version.size, version.report) == (WEIGHTS, 2**40, REPORT)
    assert work[Aliases].get(model.id, "production").version == 1
    assert [move.actor for move in work[Aliases].history(model.id, "production")] == ["import"]
    done, job = work[Jobs].get(JobId("job_2")), work[Jobs].get(JobId("job_1"))
    assert (done.result or {})["report"] == REPORT
    assert isinstance(job.order, UpdateOrder)
    assert (job.order.dataset, job.order.reference) == (DATASET, None)
    assert job.progress.terms == {"loss": 0.5}
    assert [event.kind for event in work[Jobs].events(job.id, 9, 0)] == ["queued"]
    held = work[Keys].find(Digest("6" * 64))
    assert held is not None
    assert (held.key.name, held.key.role, held.key.models) == ("admin", Role.ADMIN, None)
    assert held.lets_in(Digest("6" * 64), WHEN)
    reply = work[Idempotency].find("admin", "once")
    assert reply is not None
    assert reply.job == job.id
    question = Digest("8" * 64)
    assert work[AnswerCache].stored([WEIGHTS], [question]) == {(WEIGHTS, question): "9" * 64}
    assert [beat.worker for beat in work[Heartbeats].all()] == ["host:1:2"]


def work_goes_on(work: Work) -> None:
    """Run the jobs that an earlier release has queued, and store new rows beside the old ones."""
    job = work[Jobs].claim("w", 60, 3)
    assert job is not None
    assert job.id == "job_1"
    work[Jobs].pin(job.id, job.fence, suites=[SUITE], policy=POLICY)
    pinned = work[Jobs].get(job.id)
    assert (pinned.suites, pinned.policy) == ((SUITE,), POLICY)
    named = DatasetRef(dataset=DATASET, version=1)
    first = work[Versions].get(MODEL, 1)
    kept = {"cat": Digest("b" * 64)}
    second = replace(first, number=2, notes={"mixing": 0.7}, reference=named)
    work[Versions].add(replace(second, feature_statistics=kept))
    added = work[Versions].get(MODEL, 2)
    assert (added.notes, added.reference) == ({"mixing": 0.7}, named)
    assert added.feature_statistics == kept
    work[Jobs].add(replace(work[Jobs].get(JobId("job_2")), id=JobId("job_3"), priority=9))
    assert work[Jobs].get(JobId("job_3")).priority == 9
