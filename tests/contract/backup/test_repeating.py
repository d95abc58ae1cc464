"""A back-up is made again, and while others write, read or back up as well."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.archives.rules import ArchiveFormat
from core.artifacts.local import LocalArtifacts
from core.backup.backup import BackupFolder, back_up, restore
from core.backup.dump import LEFT_OUT, Snapshot
from core.database.migrate import METADATA
from core.errors import Conflict
from core.jobs.orders import ImportImagesOrder, JobType
from core.jobs.queue import cancel_job
from core.jobs.rows import Jobs
from core.platform import Platform
from core.registry.rows import Models, Versions
from core.registry.versions import Weights
from core.settings import Settings
from core.values import DatasetId, Digest, sha256
from tests.support.factories import NOW, a_job_of_no_model
from tests.support.scene import Scene
from tests.support.storage.contents import lost_of, rows_of
from tests.support.storage.lived import BOTH, opened


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
    assert len(parts) == len(METADATA.tables) - len(LEFT_OUT) - empty_tables(settings) + 1


def empty_tables(settings: Settings) -> int:
    return sum(not rows for rows in rows_of(settings.database).values())


def test_what_no_row_needs_stays_behind(settings: Settings, folder: Path) -> None:
    with opened(settings) as platform:
        orphan = platform.artifacts.put(b"orphan")
    back_up(settings, folder)
    assert not LocalArtifacts(folder / "artifacts").has(orphan)


def test_the_archive_of_an_import_leaves_once_that_has_ended(
    settings: Settings, folder: Path
) -> None:
    with opened(settings) as platform:
        archive = platform.artifacts.put(b"images")
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
        assert copies.has(archive)
        cancel_job(platform, job.id)
    back_up(settings, folder)
    assert not copies.has(archive)


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


def test_a_checkpoint_that_is_gone_is_no_loss(
    settings: Settings, folder: Path, elsewhere: Settings
) -> None:
    with opened(settings) as platform:
        platform.artifacts.delete(sha256(b"half an update"))
    assert lost_of(back_up(settings, folder)) == (set(), set())
    assert lost_of(restore(elsewhere, folder)) == (set(), set())


def test_two_back_ups_into_one_folder_do_not_meet(settings: Settings, folder: Path) -> None:
    with BackupFolder(folder).written(), pytest.raises(Conflict):
        back_up(settings, folder)
    back_up(settings, folder)
    with BackupFolder(folder).written(), pytest.raises(Conflict):
        restore(settings, folder)
