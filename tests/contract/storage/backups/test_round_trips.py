"""A back-up holds all that is needed, and fills any other service with it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from core.adapters.artifacts.local import LocalArtifacts
from core.adapters.artifacts.s3 import S3Artifacts
from core.adapters.database.migrate import migrate
from core.adapters.database.storage.dump import LEFT_OUT, _pack, _to_json_value
from core.adapters.database.storage.load import fill
from core.adapters.database.tables.schema import reflect
from core.backup import back_up, restore
from core.domain.jobs.job import JobStatus
from core.ports import Artifacts
from core.settings import Settings
from core.use_cases.access.verify_audit import verify_audit
from tests.support.old_rows.rows import revisions, write_rows, writing
from tests.support.scene import Scene
from tests.support.storage.contents import bytes_of, lost_of, rows_of
from tests.support.storage.databases import KINDS, Databases
from tests.support.storage.lived import BOTH, opened


@BOTH
@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
def test_rows_and_bytes_come_back_in_either_kind_of_database(
    settings: Settings, elsewhere: Settings, folder: Path, databases: Databases, target: str
) -> None:
    before = bytes_of(LocalArtifacts(settings.artifacts))
    done = back_up(settings, folder)
    assert lost_of(done) == (set(), set())
    other = elsewhere.model_copy(update={"database_url": databases.fresh(target)})
    back = restore(other, folder)
    rows = rows_of(settings.database)
    assert all(rows[name] for name in ("jobs", "versions", "alias_moves", "answers", "suites"))
    assert all(rows[name] for name in ("webhook_deliveries", "audit_events"))
    assert rows_of(other.database) == rows
    assert back.rows == done.rows == sum(map(len, rows.values()))
    with opened(other) as platform:
        assert bytes_of(platform.artifacts) == before
        scene = Scene(platform.transactions, platform.artifacts)
        with platform.transactions() as work:
            model = work.models.get("demo")
            (job,) = work.jobs.page(9, None, status=JobStatus.RUNNING)
            work.jobs.release(job.id, job.fence)
            work.commit()
        assert scene.run().version == 4  # the job goes on
        newest = scene.order(model, job.order)
        with platform.transactions(read_only=True) as work:
            assert work.jobs.page(1, None)[0].id == newest.id
            (webhook,) = work.webhooks.page(9, None)
            assert job.id in {one.object for one in work.outbox.page(webhook.id, 9, None)}
        assert verify_audit(platform).broken_at is None


@BOTH
def test_bytes_go_from_a_folder_to_s3_and_back(
    settings: Settings,
    kind: str,
    folder: Path,
    tmp_path: Path,
    databases: Databases,
    s3: S3Artifacts,
) -> None:
    place = s3._place
    address = {
        "artifacts_url": f"s3://{place.bucket}/{place.prefix}",
        "s3_endpoint": place.endpoint or "",
        "s3_region": place.region or "",
    }
    before = bytes_of(LocalArtifacts(settings.artifacts))
    back_up(settings, folder)
    on_s3 = Settings(home=tmp_path / "s3", database_url=databases.fresh(kind), **address)
    restore(on_s3, folder)
    assert bytes_of(s3) == before
    back_up(on_s3, tmp_path / "from s3")
    third = Settings(home=tmp_path / "third", database_url=databases.fresh("sqlite"))
    assert lost_of(restore(third, tmp_path / "from s3")) == (set(), set())
    assert bytes_of(LocalArtifacts(third.artifacts)) == before
    assert rows_of(third.database) == rows_of(settings.database)


@pytest.mark.parametrize("revision", revisions())
def test_rows_of_an_older_release_are_restored_and_brought_up(
    elsewhere: Settings, databases: Databases, tmp_path: Path, revision: str
) -> None:
    """Back-ups that a release wrote are read by all later ones."""
    store = LocalArtifacts(tmp_path / "rows")
    urls, dumps = [databases.past(kind, revision) for kind in KINDS], []
    for url in urls:
        with writing(url) as connection:
            write_rows(connection, revision)
            dumps.append(dump_of_old(connection, store, revision))
    assert dumps[0] == dumps[1]
    fill(elsewhere.database, dumps[0], store.get)
    restored = rows_of(elsewhere.database)
    for url in urls:
        migrate(url)
        assert rows_of(url) == restored


def dump_of_old(connection: Connection, store: Artifacts, revision: str) -> dict[str, Any]:
    """As that release's own `dump` would have spelled it."""
    tables = reflect(connection)
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
