"""Properties of the store in a folder alone."""

import errno
import os
import stat
import time
import tracemalloc
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from core.artifacts.checks import PIECE
from core.artifacts.local import LocalArtifacts
from core.artifacts.store import Artifacts
from core.errors import ArtifactCorrupt, StorageFull
from core.values import Digest, sha256

DATA = b"some bytes"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


@pytest.fixture
def artifacts(folder: Path) -> LocalArtifacts:
    return LocalArtifacts(folder)


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_is_there_already_is_compared_piece_by_piece(artifacts: Artifacts) -> None:
    data = bytes(64 * PIECE)
    artifacts.put(data)
    tracemalloc.start()
    try:
        artifacts.put(data)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < len(data) / 2


def test_full_disk_leaves_nothing_behind(
    artifacts: Artifacts, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def fills_up(descriptor: int, data: memoryview) -> int:
        if len(data) < len(DATA):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[:4])

    monkeypatch.setattr(os, "write", fills_up)
    with pytest.raises(StorageFull):
        artifacts.put(DATA)
    assert files_in(folder) == []
    monkeypatch.undo()
    assert artifacts.get(artifacts.put(DATA)) == DATA


@pytest.mark.parametrize("how", ["whole", "in pieces", "in a batch"])
def test_a_file_is_synced_before_it_gets_its_name_and_its_folder_afterwards(
    artifacts: LocalArtifacts, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    steps = []
    rename = Path.rename

    def synced(descriptor: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")

    def renamed(path: Path, to: Path) -> None:
        steps.append("name")
        rename(path, to)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    if how == "in pieces":
        with artifacts.writer() as writer:
            writer.write(DATA)
            writer.commit()
    elif how == "in a batch":
        with artifacts.batch() as batch:
            batch.add(DATA)
            batch.commit()
    else:
        artifacts.put(DATA)
    assert steps.index("file") < steps.index("name") == len(steps) - 2
    assert steps[-1] == "folder"


@pytest.mark.parametrize("kept", [b"some bytet", b"Some bytes", b"some byte", b"some bytes!", b""])
def test_disk_that_lies_is_found_before_the_name_is_given(
    artifacts: Artifacts, folder: Path, monkeypatch: pytest.MonkeyPatch, kept: bytes
) -> None:
    real = os.write

    def write(descriptor: int, data: memoryview) -> int:
        real(descriptor, kept)
        return len(data)

    monkeypatch.setattr(os, "write", write)
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


def test_a_batch_may_take_as_long_as_it_likes(artifacts: Artifacts, folder: Path) -> None:
    with artifacts.batch() as batch:
        found = batch.add(DATA)
        for path in folder.rglob("*"):
            os.utime(path, (0, 0))
        assert artifacts.sweep(60) == 0
        batch.commit()
    assert not artifacts.delete_if_older(found, 60)
    assert artifacts.get(found) == DATA


def test_a_batch_of_a_dead_writer_is_swept(artifacts: Artifacts, folder: Path) -> None:
    left = folder / ".new-0123"
    left.mkdir(parents=True)
    (left / sha256(DATA)).write_bytes(DATA)
    assert artifacts.sweep(60) == 0
    os.utime(left, (0, 0))
    assert artifacts.sweep(60) == 1
    assert list(folder.iterdir()) == []


def test_names_without_bytes_do_not_reach_the_disk(folder: Path) -> None:
    assert list(LocalArtifacts(folder).stored()) == []
    assert not folder.exists()


def test_a_writer_waits_for_the_collector_that_has_looked_at_its_file(
    artifacts: LocalArtifacts, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = artifacts.put(DATA)
    path = folder / found[:2] / found[2:]
    os.utime(path, (0, 0))
    writes: list[Future[Digest]] = []
    real = Path.unlink

    with ThreadPoolExecutor(1) as pool:

        def meets_a_writer(self: Path, missing_ok: bool = False) -> None:
            if self == path:
                writes.append(pool.submit(artifacts.put, DATA))
                time.sleep(0.1)
                assert not writes[0].done()
            real(self, missing_ok=missing_ok)

        monkeypatch.setattr(Path, "unlink", meets_a_writer)
        assert artifacts.delete_if_older(found, 60)
        writes[0].result(10)
    assert artifacts.get(sha256(DATA)) == DATA
