"""A back-up holds all that is needed, and fills any other service with it."""

from pathlib import Path

import pytest

from core.artifacts.local import LocalArtifacts
from core.artifacts.s3 import S3Artifacts
from core.audit.record import verify_audit
from core.backup.backup import back_up, restore
from core.jobs.rows import Jobs
from core.jobs.rules import JobStatus
from core.outbox.rows import Outbox, Webhooks
from core.registry.rows import Models
from core.settings import Settings
from tests.support.scene import Scene
from tests.support.storage.contents import bytes_of, lost_of, rows_of
from tests.support.storage.databases import Databases
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
            model = work[Models].get("demo")
            (job,) = work[Jobs].page(9, None, status=JobStatus.RUNNING)
            work[Jobs].release(job.id, job.fence)
            work.commit()
        assert scene.run().version == 4  # the job goes on
        newest = scene.order(model, job.order)
        with platform.transactions(read_only=True) as work:
            assert work[Jobs].page(1, None)[0].id == newest.id
            (webhook,) = work[Webhooks].page(9, None)
            assert job.id in {one.object for one in work[Outbox].page(webhook.id, 9, None)}
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
