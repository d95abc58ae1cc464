import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.adapters.artifacts import local
from core.adapters.artifacts.local import LocalArtifacts
from core.domain.values import Digest, sha256
from core.errors import ArtifactCorrupt, ArtifactMissing, StorageFull
from core.ports import Artifacts
from tests.factories import digest

DATA = b"some bytes"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


@pytest.fixture
def artifacts(folder: Path) -> LocalArtifacts:
    return LocalArtifacts(folder)


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_bytes_come_back(artifacts: Artifacts) -> None:
    for data in (DATA, b"", os.urandom(3_000_000)):
        found = artifacts.put(data)
        assert found == sha256(data)
        assert artifacts.has(found)
        assert artifacts.get(found) == data


def test_same_bytes_are_stored_once(artifacts: Artifacts, folder: Path) -> None:
    assert artifacts.put(DATA) == artifacts.put(DATA)
    assert len(files_in(folder)) == 1
    assert list(artifacts.digests()) == [sha256(DATA)]


def test_many_writers_of_the_same_bytes_do_not_disturb_one_another(
    artifacts: Artifacts, folder: Path
) -> None:
    data = os.urandom(500_000)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(artifacts.put, [data] * 16)) == {sha256(data)}
    assert artifacts.get(sha256(data)) == data
    assert len(files_in(folder)) == 1


def test_missing_artifact_says_so(artifacts: Artifacts) -> None:
    assert not artifacts.has(digest("none"))
    with pytest.raises(ArtifactMissing):
        artifacts.get(digest("none"))
    artifacts.delete(digest("none"))
    assert list(artifacts.digests()) == []


def test_deleted_artifact_is_gone(artifacts: Artifacts) -> None:
    found = artifacts.put(DATA)
    artifacts.delete(found)
    assert not artifacts.has(found)
    assert artifacts.put(DATA) == found


def test_damaged_artifact_is_healed_by_storing_it_again(artifacts: Artifacts, folder: Path) -> None:
    found = artifacts.put(DATA)
    [path] = files_in(folder)
    path.write_bytes(b"SOME BYTES")
    assert artifacts.put(DATA) == found
    assert artifacts.get(found) == DATA


def test_one_flipped_bit_is_found(artifacts: Artifacts, folder: Path) -> None:
    found = artifacts.put(DATA)
    [path] = files_in(folder)
    damaged = bytearray(DATA)
    damaged[3] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ArtifactCorrupt):
        artifacts.get(found)


def test_torn_file_is_replaced_by_the_next_put(artifacts: Artifacts, folder: Path) -> None:
    found = artifacts.put(DATA)
    [path] = files_in(folder)
    path.write_bytes(DATA[:4])
    assert artifacts.put(DATA) == found
    assert artifacts.get(found) == DATA


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_name_that_is_no_digest_never_touches_the_disk(
    artifacts: Artifacts, folder: Path, name: str
) -> None:
    artifacts.put(DATA)
    assert not artifacts.has(Digest(name))
    artifacts.delete(Digest(name))
    with pytest.raises(ArtifactMissing):
        artifacts.get(Digest(name))


def test_full_disk_leaves_nothing_behind(
    artifacts: Artifacts, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def fills_up(descriptor: int, data: memoryview) -> int:
        if len(data) < len(DATA):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[:4])

    monkeypatch.setattr(local.os, "write", fills_up)
    with pytest.raises(StorageFull):
        artifacts.put(DATA)
    assert files_in(folder) == []
    monkeypatch.undo()
    assert artifacts.get(artifacts.put(DATA)) == DATA


def test_disk_that_lies_is_found_before_the_name_is_given(
    artifacts: Artifacts, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(local.os, "write", lambda to, data: real(to, bytes(len(data))))
    with pytest.raises(ArtifactCorrupt):
        artifacts.put(DATA)
    assert files_in(folder) == []


def test_old_temporaries_are_swept_and_young_ones_kept(artifacts: Artifacts, folder: Path) -> None:
    found = artifacts.put(DATA)
    left = folder / found[:2] / ".new-0123"
    left.write_bytes(b"half")
    assert artifacts.sweep(60) == 0
    an_hour_ago = time.time() - 3600
    os.utime(left, (an_hour_ago, an_hour_ago))
    assert list(artifacts.digests()) == [found]
    assert artifacts.sweep(60) == 1
    assert files_in(folder) == [folder / found[:2] / found[2:]]


def test_room_is_told_before_the_folder_exists(artifacts: Artifacts) -> None:
    assert artifacts.free_bytes() > 0
