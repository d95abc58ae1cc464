"""Damage is told and the rest is copied, but rows are restored whole or not at all."""

from pathlib import Path

import pytest

from core.artifacts.local import LocalArtifacts
from core.artifacts.store import Artifacts
from core.backup.backup import BackupFolder, back_up, restore
from core.errors import Corrupt, StorageFull
from core.registry.versions import Weights
from core.settings import Settings
from core.upkeep.rows import ArtifactRoots
from core.values import Digest
from tests.support.factories import a_job
from tests.support.scene import Scene
from tests.support.storage.contents import bytes_of, file_of, lost_of, rows_of
from tests.support.storage.lived import opened


def test_what_is_damaged_or_missing_is_told_and_the_rest_is_copied(
    settings: Settings, folder: Path, elsewhere: Settings
) -> None:
    with opened(settings) as platform:
        with platform.transactions(read_only=True) as work:
            root, *_ = sorted(work[ArtifactRoots].weights())
            report = sorted(work[ArtifactRoots].reports())[0]
        tensor = Weights.from_bytes(platform.artifacts.get(root)).tensors[0].digest
        file_of(settings, tensor).write_bytes(b"other")
        file_of(settings, report).unlink()
        all_but_two = bytes_of_whole(platform.artifacts, {tensor, report})
    for _ in range(2):
        assert lost_of(back_up(settings, folder)) == ({tensor}, {report})
    assert bytes_of(LocalArtifacts(folder / "artifacts")) == all_but_two
    assert lost_of(restore(elsewhere, folder)) == (set(), {tensor, report})
    assert rows_of(elsewhere.database) == rows_of(settings.database)


def test_feature_statistics_are_backed_up_and_missing_ones_are_told(
    settings: Settings, folder: Path, elsewhere: Settings
) -> None:
    with opened(settings) as platform, platform.transactions(read_only=True) as work:
        gone, *others = work[ArtifactRoots].feature_statistics()
    file_of(settings, gone).unlink()
    assert lost_of(back_up(settings, folder)) == (set(), {gone})
    assert lost_of(restore(elsewhere, folder)) == (set(), {gone})
    with opened(elsewhere) as platform, platform.transactions(read_only=True) as work:
        assert work[ArtifactRoots].feature_statistics() == {gone, *others}
        assert others
        assert all(map(platform.artifacts.has, others))


def bytes_of_whole(artifacts: Artifacts, but: set[Digest]) -> dict[Digest, bytes]:
    return {name: artifacts.get(name) for name in artifacts.digests() if name not in but}


def test_a_damaged_list_is_told(settings: Settings, folder: Path) -> None:
    with opened(settings) as platform, platform.transactions(read_only=True) as work:
        manifest, *_ = work[ArtifactRoots].manifests()
    file_of(settings, manifest).write_bytes(b"{}")
    assert lost_of(back_up(settings, folder)) == ({manifest}, set())


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
    settings: Settings, folder: Path, elsewhere: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(settings) as platform:
        scene = Scene(platform.transactions, platform.artifacts)
        back_up(settings, folder)
        before = rows_of(settings.database)
        scene.order(scene.model("another"), a_job(scene.model("third")).order)

    def full(*_: object) -> None:
        raise StorageFull

    with monkeypatch.context() as patch:
        patch.setattr(BackupFolder, "_point_to", full)
        with pytest.raises(StorageFull):
            back_up(settings, folder)
    restore(elsewhere, folder)
    assert rows_of(elsewhere.database) == before
