"""A back-up holds all that is needed; damage is told; where rows could be lost, nothing is done."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from core.archives.rules import ArchiveFormat
from core.artifacts.local import LocalArtifacts
from core.artifacts.store import Artifacts
from core.audit.record import verify_audit
from core.backup import backup as backups
from core.backup.backup import BackupFolder, back_up, restore
from core.backup.dump import LEFT_OUT, Snapshot
from core.bootstrap import opened
from core.database.migrate import METADATA, migrate
from core.erasure.rows import Erasures
from core.erasure.rules import Erasure, Findings
from core.errors import Conflict, Corrupt, FieldInvalid, NotFound, StorageFull, UnsafeConfiguration
from core.imports.rows import FileReports
from core.jobs.orders import ImportImagesOrder, JobType
from core.jobs.queue import cancel_job
from core.jobs.rows import Jobs
from core.jobs.rules import JobStatus
from core.outbox.rows import Outbox, Webhooks
from core.platform import Platform
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import Weights
from core.settings import Settings
from core.upkeep.rows import ArtifactRoots
from core.values import DatasetId, Digest, ErasureId, sha256
from tests.support.factories import NOW, a_job, a_job_of_no_model
from tests.support.scene import Scene
from tests.support.storage.databases import Databases, bytes_of, file_of, lost_of, rows_of, writing
from tests.support.storage.lived import BOTH, LivedServices


@pytest.fixture(scope="session")
def lived(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> LivedServices:
    return LivedServices(tmp_path_factory.mktemp("lived"), databases)


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    """The database that is backed up: SQLite, unless a test says that it matters."""
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture
def settings(lived: LivedServices, kind: str, tmp_path: Path) -> Settings:
    return lived.copy(kind, tmp_path / "home")


@pytest.fixture
def elsewhere(tmp_path: Path, databases: Databases) -> Settings:
    return Settings(home=tmp_path / "elsewhere", database_url=databases.fresh("sqlite"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backup"


@BOTH
@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
def test_rows_and_bytes_come_back_in_either_kind_of_database(
    settings: Settings,
    elsewhere: Settings,
    folder: Path,
    databases: Databases,
    monkeypatch: pytest.MonkeyPatch,
    target: str,
) -> None:
    monkeypatch.setattr("core.backup.dump.CHUNK", 2)  # some tables have more rows, some fewer
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


def test_the_second_time_only_what_is_new_is_copied(settings: Settings, folder: Path) -> None:
    with opened(settings) as platform:
        scene = Scene(platform.transactions, platform.artifacts)
        first = back_up(settings, folder)
        second = back_up(settings, folder)
        assert (second.artifacts.copied, len(second.artifacts.kept)) == (
            {},
            len(first.artifacts.copied),
        )
        report = platform.artifacts.put(b"new")
        with platform.transactions() as work:
            model = work[Models].get("demo")
            work[Versions].save(replace(scene.version(model, 3), report=report))
            work.commit()
    third = back_up(settings, folder)
    assert third.artifacts.copied == {report: 3}
    parts = set(LocalArtifacts(folder / "rows").digests())
    empty = sum(not rows for rows in rows_of(settings.database).values())
    assert len(parts) == len(METADATA.tables) - len(LEFT_OUT) - empty + 1


def test_what_no_row_needs_stays_behind_as_does_the_archive_of_an_import_that_has_ended(
    settings: Settings, folder: Path, elsewhere: Settings
) -> None:
    with opened(settings) as platform:
        orphan, archive = (platform.artifacts.put(data) for data in (b"orphan", b"images"))
        order = ImportImagesOrder(
            dataset=DatasetId("ds_1"),
            archive=archive,
            archive_format=ArchiveFormat.ZIP,
            archive_bytes=6,
        )
        job = a_job_of_no_model("ds_1", type=JobType.IMPORT_IMAGES, order=order)
        with platform.transactions() as work:
            work[Jobs].add(job)
            work.commit()
        back_up(settings, folder)
        copies = LocalArtifacts(folder / "artifacts")
        assert (copies.has(archive), copies.has(orphan)) == (True, False)
        cancel_job(platform, job.id)
        platform.artifacts.delete(sha256(b"half an update"))  # a checkpoint, which is no loss
    assert lost_of(back_up(settings, folder)) == (set(), set())
    assert lost_of(restore(elsewhere, folder)) == (set(), set())
    assert not copies.has(archive)


def test_what_was_made_of_an_erased_image_leaves_the_folder_unless_it_is_needed(
    settings: Settings, folder: Path
) -> None:
    with opened(settings) as platform:
        old, new = (platform.artifacts.put(data) for data in (b"old report", b"new report"))
        job = a_job_of_no_model("ds_1", type=JobType.IMPORT_IMAGES).succeed({"report": old}, NOW)
        erasure = Erasure(
            id=ErasureId("era_1"),
            images=(),
            reason="x",
            actor="x",
            job=job.id,
            created_at=NOW,
            erased_at=NOW,
            findings=Findings(artifacts={}, derived=(old, new)),
        )
        with platform.transactions() as work:
            work[Jobs].add(job)
            work.commit()
        back_up(settings, folder)
        copies = LocalArtifacts(folder / "artifacts")
        assert copies.has(old)
        with platform.transactions() as work:
            work[FileReports].replace(job.id, new)
            work[Erasures].add(erasure)
            work[Erasures].save(erasure)
            work.commit()
    back_up(settings, folder)
    assert (copies.has(old), copies.has(new)) == (False, True)


def test_what_was_collected_is_forgotten_after_a_time(
    settings: Settings, folder: Path, elsewhere: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [NOW]
    monkeypatch.setattr("core.bootstrap.utc_now", lambda: now[0])
    back_up(settings, folder)
    copies = LocalArtifacts(folder / "artifacts")
    with opened(settings) as platform:
        weights = give_up(platform, 2)
        with platform.transactions(read_only=True) as work:
            manifest = sorted(work[ArtifactRoots].manifests())[0]
        for days, kept in ((0, True), (29, True), (30, False)):
            now[0] = NOW + timedelta(days=1 + days)
            if days == 30:  # a damaged list may name it, so nothing is forgotten yet
                listed = file_of(settings, manifest).read_bytes()
                for store in (settings, Settings(home=folder)):
                    file_of(store, manifest).write_bytes(b"{}")
                assert back_up(settings, folder).forgotten == 0
                file_of(settings, manifest).write_bytes(listed)
            done = back_up(settings, folder)
            assert (copies.has(weights), done.forgotten > 0) == (kept, not kept), days
    assert back_up(settings, folder).forgotten == 0
    assert lost_of(restore(elsewhere, folder)) == (set(), set())


@BOTH
def test_rows_are_of_one_moment_and_what_they_name_is_whole(
    settings: Settings, folder: Path, elsewhere: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version is made and an old one collected between the rows and the bytes."""
    with opened(settings) as platform:
        happened = []
        real = Snapshot.dump

        def dump(self: Snapshot, put: Callable[[bytes], Digest]) -> Any:
            listed = real(self, put)
            if not happened:
                happened.append(give_up(platform, 2))
            return listed

        monkeypatch.setattr(Snapshot, "dump", dump)
        assert lost_of(back_up(settings, folder)) == (set(), set())
    restore(elsewhere, folder)
    with opened(elsewhere) as platform, platform.transactions(read_only=True) as work:
        version = work[Versions].get(work[Models].get("demo").id, 2)
        assert version.collected_at is not None


def give_up(platform: Platform, number: int) -> Digest:
    """The effect of a collection on a version."""
    with platform.transactions() as work:
        model = work[Models].get("demo")
        version = work[Versions].get(model.id, number)
        work[Versions].release_weights(model.id, number, NOW)
        work.commit()
    for tensor in Weights.from_bytes(platform.artifacts.get(version.digest)).tensors:
        platform.artifacts.delete(tensor.digest)
    platform.artifacts.delete(version.digest)
    return version.digest


def test_two_back_ups_into_one_folder_do_not_meet(settings: Settings, folder: Path) -> None:
    with BackupFolder(folder).written(), pytest.raises(Conflict):
        back_up(settings, folder)
    back_up(settings, folder)
    with BackupFolder(folder).written(), pytest.raises(Conflict):
        restore(settings, folder)


def test_what_is_damaged_or_missing_is_told_and_the_rest_is_copied(
    settings: Settings, folder: Path, elsewhere: Settings
) -> None:
    with opened(settings) as platform:
        with platform.transactions(read_only=True) as work:
            root, *_ = sorted(work[ArtifactRoots].weights())
            report = sorted(work[ArtifactRoots].reports())[0]
            statistics, *others = work[ArtifactRoots].feature_statistics()
            manifest, *_ = work[ArtifactRoots].manifests()
        tensor = Weights.from_bytes(platform.artifacts.get(root)).tensors[0].digest
        for damaged in (tensor, manifest):
            file_of(settings, damaged).write_bytes(b"{}")
        file_of(settings, report).unlink()
        file_of(settings, statistics).unlink()
        lost = {tensor, manifest, report, statistics}
        whole = bytes_of_whole(platform.artifacts, lost)
    for _ in range(2):
        assert lost_of(back_up(settings, folder)) == ({tensor, manifest}, {report, statistics})
    assert bytes_of(LocalArtifacts(folder / "artifacts")) == whole
    assert lost_of(restore(elsewhere, folder)) == (set(), lost)
    assert rows_of(elsewhere.database) == rows_of(settings.database)
    assert others
    assert set(others) <= whole.keys()


def bytes_of_whole(artifacts: Artifacts, but: set[Digest]) -> dict[Digest, bytes]:
    return {name: artifacts.get(name) for name in artifacts.digests() if name not in but}


def test_damage_in_the_folder_is_told_and_healed_by_the_next_back_up(
    settings: Settings, folder: Path, elsewhere: Settings
) -> None:
    with opened(settings) as platform, platform.transactions(read_only=True) as work:
        report = sorted(work[ArtifactRoots].reports())[0]
    back_up(settings, folder)
    copies = Settings(home=folder)
    flip(file_of(copies, report))
    assert lost_of(restore(elsewhere, folder)) == ({report}, set())
    assert report in back_up(settings, folder).artifacts.copied
    back = restore(elsewhere, folder, artifacts_only=True)
    assert (back.rows, set(back.artifacts.copied), back.artifacts.lost) == (0, {report}, set())


def test_a_flipped_bit_in_rows_or_lists_stops_a_restore(
    settings: Settings, folder: Path, elsewhere: Settings
) -> None:
    back_up(settings, folder)
    for path in (folder / "rows").rglob("*"):
        if path.is_file():
            flip(path)
            with pytest.raises(Corrupt):
                restore(elsewhere, folder)
            flip(path)
    (folder / "backup.json").write_text("{")
    with pytest.raises(Corrupt):
        restore(elsewhere, folder)
    assert not elsewhere.artifacts.exists()
    assert not Path(elsewhere.database.removeprefix("sqlite:///")).exists()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def test_a_back_up_that_breaks_off_leaves_the_one_before(
    settings: Settings, folder: Path, elsewhere: Settings
) -> None:
    with opened(settings) as platform:
        scene = Scene(platform.transactions, platform.artifacts)
        back_up(settings, folder)
        before = rows_of(settings.database)
        scene.order(scene.model("another"), a_job(scene.model("third")).order)

    (folder / "backup.new").symlink_to("/dev/full")
    with pytest.raises(StorageFull):
        back_up(settings, folder)
    restore(elsewhere, folder)
    assert rows_of(elsewhere.database) == before


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


def test_a_back_up_of_another_version_or_a_folder_that_is_none_is_refused(
    settings: Settings, elsewhere: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        real = Snapshot.dump
        patch.setattr(Snapshot, "dump", lambda self, put: {**real(self, put), "revision": "f" * 12})
        back_up(settings, folder)
    with pytest.raises(Conflict, match="with the version that made it"):
        restore(elsewhere, folder)
    pointer = folder / "backup.json"
    pointer.write_text(json.dumps({**json.loads(pointer.read_text()), "format": 99}))
    with pytest.raises(Conflict, match="has format 99"):
        restore(elsewhere, folder)
    with pytest.raises(NotFound):
        restore(elsewhere, folder / "rows")
    with pytest.raises(FieldInvalid):
        back_up(settings, settings.home)
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
