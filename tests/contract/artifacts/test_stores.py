"""Properties of every artifact store, in a folder, on S3 and in memory; then those of a folder."""

import errno
import os
import stat
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.artifacts.checks import SETTLED_S, VerifiedFiles
from core.artifacts.local import LocalArtifacts
from core.artifacts.s3 import S3Artifacts
from core.artifacts.store import Artifacts
from core.errors import ArtifactCorrupt, ArtifactMissing, StorageFull
from core.values import Digest, sha256
from tests.support.factories import digest
from tests.support.memory_artifacts import MemoryArtifacts

DATA = b"some bytes"

AGE_S = 2.0  # S3 tells whole seconds


@dataclass
class Store:
    """A store, and what an accident or the passing of time may do to it behind its back."""

    artifacts: Artifacts
    damage: Callable[[Digest, bytes], object]
    age: Callable[[Digest], object]  # by a little more than AGE_S


@pytest.fixture(params=["folder", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        folder = tmp_path / "artifacts"
        return Store(
            artifacts=LocalArtifacts(folder),
            damage=lambda name, data: (folder / name[:2] / name[2:]).write_bytes(data),
            age=lambda name: os.utime(folder / name[:2] / name[2:], (0, 0)),
        )
    if request.param == "memory":
        memory = MemoryArtifacts()
        return Store(
            artifacts=memory,
            damage=memory.bytes_of.__setitem__,
            age=lambda name: memory.put_at.update({name: 0.0}),
        )
    bucket: S3Artifacts = request.getfixturevalue("s3")
    return Store(
        artifacts=bucket,
        damage=lambda name, data: bucket._client.put_object(
            Bucket=bucket._place.bucket, Key=bucket._key(name), Body=data
        ),
        age=lambda name: time.sleep(AGE_S + 1.0),
    )


@pytest.fixture
def artifacts(store: Store) -> Artifacts:
    return store.artifacts


def test_bytes_come_back(artifacts: Artifacts) -> None:
    for data in (DATA, b"", os.urandom(300_000)):
        found = artifacts.put(data)
        assert found == sha256(data)
        assert artifacts.has(found)
        assert artifacts.get(found) == data
    assert artifacts.get(artifacts.put(memoryview(DATA)[5:])) == b"bytes"
    assert artifacts.free_bytes() > 0


def test_what_is_written_in_pieces_is_one_artifact_once_it_is_whole(artifacts: Artifacts) -> None:
    for pieces in ((DATA, b"", os.urandom(300_000)), ()):
        with artifacts.writer() as writer:
            for piece in pieces:
                writer.write(piece)
            before = set(artifacts.digests())
            found = writer.commit()
        assert found == sha256(b"".join(pieces))
        assert set(artifacts.digests()) - before == {found}
        assert b"".join(artifacts.pieces(found)) == artifacts.get(found) == b"".join(pieces)


def test_committing_tells_of_every_byte(artifacts: Artifacts) -> None:
    for _ in ("new", "stored already"):
        moved: list[int] = []
        with artifacts.writer() as writer:
            writer.write(b"x" * 300_000)
            writer.commit(moved.append)
        assert sum(moved) >= 300_000  # else a job would lose its lease meanwhile


def test_a_batch_is_stored_when_it_is_committed(artifacts: Artifacts) -> None:
    data = [DATA, b"", *(os.urandom(3000) for _ in range(200)), DATA]
    with artifacts.batch() as batch:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(batch.add, data))
        assert list(artifacts.digests()) == []
        batch.commit()
    assert found == [sha256(one) for one in data]
    assert set(artifacts.digests()) == set(found)
    assert [artifacts.get(digest) for digest in found] == data


def in_pieces(artifacts: Artifacts) -> Digest:
    with artifacts.writer() as writer:
        writer.write(DATA)
        return writer.commit()


def in_a_batch(artifacts: Artifacts) -> Digest:
    with artifacts.batch() as batch:
        found = batch.add(DATA)
        batch.commit()
    return found


def test_what_is_not_committed_leaves_nothing(store: Store, tmp_path: Path) -> None:
    with suppress(KeyError), store.artifacts.writer() as writer:
        writer.write(DATA)
        raise KeyError
    with suppress(KeyError), store.artifacts.batch() as batch:
        batch.add(DATA)
        raise KeyError
    assert list(store.artifacts.digests()) == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def at_once(artifacts: Artifacts) -> Digest:
    return artifacts.put(DATA)


@pytest.mark.parametrize("write", [in_pieces, in_a_batch, at_once])
def test_writing_stored_bytes_again_resets_their_age_and_mends_them(
    store: Store, write: Callable[[Artifacts], Digest]
) -> None:
    found = write(store.artifacts)
    store.age(found)
    assert write(store.artifacts) == found
    assert not store.artifacts.delete_if_older(found, AGE_S)
    assert [row.age_s < AGE_S for row in store.artifacts.stored()] == [True]
    for damaged in (b"some bytez", DATA[:4], b""):
        store.damage(found, damaged)
        write(store.artifacts)
        assert store.artifacts.get(found) == DATA


def test_bytes_are_renewed_once_they_are_verified(store: Store) -> None:
    found = store.artifacts.put(DATA)
    store.age(found)
    store.artifacts.renew(found)
    assert not store.artifacts.delete_if_older(found, AGE_S)
    assert store.artifacts.get(found) == DATA


def test_bytes_are_verified_again_once_they_have_changed(store: Store) -> None:
    found = store.artifacts.put(DATA)
    store.age(found)
    for _ in range(2):
        store.artifacts.verify(found)
    store.damage(found, b"some bytez")
    with pytest.raises(ArtifactCorrupt):
        store.artifacts.verify(found)
    store.damage(found, DATA)
    store.artifacts.verify(found)


def test_pieces_are_reported_and_verified_at_their_end(store: Store) -> None:
    data, moved = os.urandom(600_000), list[int]()
    found = store.artifacts.put(data)
    parts = store.artifacts.pieces(found, moved.append)
    assert len(next(parts)) < len(data)
    assert sum(map(len, parts)) < len(data) == sum(moved)


def test_one_flipped_bit_is_found(store: Store) -> None:
    found = store.artifacts.put(DATA)
    damaged = bytearray(DATA)
    damaged[3] ^= 1
    store.damage(found, bytes(damaged))
    for read in (
        store.artifacts.get,
        store.artifacts.renew,
        store.artifacts.verify,
        lambda name: list(store.artifacts.pieces(name)),
    ):
        with pytest.raises(ArtifactCorrupt):
            read(found)
        with pytest.raises(ArtifactMissing):
            read(digest("nothing"))


def test_many_writers_of_the_same_bytes_store_them_once(artifacts: Artifacts) -> None:
    data = os.urandom(100_000)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(artifacts.put, [data] * 8)) == {sha256(data)}
    assert artifacts.get(sha256(data)) == data
    assert [(row.digest, row.size) for row in artifacts.stored()] == [(sha256(data), len(data))]


@pytest.mark.parametrize(
    "name", ["0" * 64, "../../etc/passwd", "", "A" * 64, "0" * 63, "0" * 64 + "\n"]
)
def test_a_name_of_nothing_is_missing(artifacts: Artifacts, name: str) -> None:
    artifacts.put(DATA)
    assert not artifacts.has(Digest(name))
    artifacts.delete(Digest(name))
    with pytest.raises(ArtifactMissing) as told:
        artifacts.get(Digest(name))
    assert told.value.facts == {"digest": name}


def test_only_an_old_artifact_is_collected(artifacts: Artifacts) -> None:
    found = artifacts.put(DATA)
    assert not artifacts.delete_if_older(found, 60)
    assert artifacts.get(found) == DATA
    for remove in (lambda: artifacts.delete_if_older(found, 0), lambda: artifacts.delete(found)):
        remove()
        assert not artifacts.has(found)
        assert not artifacts.delete_if_older(found, 0)
        assert artifacts.put(DATA) == found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


@pytest.fixture
def local(folder: Path) -> LocalArtifacts:
    return LocalArtifacts(folder)


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_full_disk_leaves_nothing_behind(
    local: LocalArtifacts, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def fills_up(descriptor: int, data: memoryview) -> int:
        if len(data) < len(DATA):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[:4])

    monkeypatch.setattr(os, "write", fills_up)
    with pytest.raises(StorageFull):
        local.put(DATA)
    assert files_in(folder) == []
    monkeypatch.undo()
    assert local.get(local.put(DATA)) == DATA


@pytest.mark.parametrize("write", [in_pieces, in_a_batch, at_once])
def test_a_file_is_synced_before_it_gets_its_name_and_its_folder_afterwards(
    local: LocalArtifacts, monkeypatch: pytest.MonkeyPatch, write: Callable[[Artifacts], Digest]
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
    write(local)
    assert steps.index("file") < steps.index("name") == len(steps) - 2
    assert steps[-1] == "folder"


@pytest.mark.parametrize("kept", [b"Some bytes", b"some byte", b"some bytes!", b""])
def test_disk_that_lies_is_found_before_the_name_is_given(
    local: LocalArtifacts, folder: Path, monkeypatch: pytest.MonkeyPatch, kept: bytes
) -> None:
    real = os.write

    def write(descriptor: int, data: memoryview) -> int:
        real(descriptor, kept)
        return len(data)

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(ArtifactCorrupt):
        local.put(DATA)
    assert files_in(folder) == []


def test_old_temporaries_are_swept_and_young_ones_kept(local: LocalArtifacts, folder: Path) -> None:
    found = local.put(DATA)
    left = folder / found[:2] / ".new-0123"
    left.write_bytes(b"half")
    assert local.sweep(60) == 0
    an_hour_ago = time.time() - 3600
    os.utime(left, (an_hour_ago, an_hour_ago))
    assert list(local.digests()) == [found]
    assert local.sweep(60) == 1
    assert files_in(folder) == [folder / found[:2] / found[2:]]


def test_a_batch_may_take_as_long_as_it_likes(local: LocalArtifacts, folder: Path) -> None:
    with local.batch() as batch:
        found = batch.add(DATA)
        for path in folder.rglob("*"):
            os.utime(path, (0, 0))
        assert local.sweep(60) == 0
        batch.commit()
    assert not local.delete_if_older(found, 60)
    assert local.get(found) == DATA


def test_a_batch_of_a_dead_writer_is_swept(local: LocalArtifacts, folder: Path) -> None:
    left = folder / ".new-0123"
    left.mkdir(parents=True)
    (left / sha256(DATA)).write_bytes(DATA)
    assert local.sweep(60) == 0
    os.utime(left, (0, 0))
    assert local.sweep(60) == 1
    assert list(folder.iterdir()) == []


def test_a_writer_waits_for_the_collector_that_has_looked_at_its_file(
    local: LocalArtifacts, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = local.put(DATA)
    path = folder / found[:2] / found[2:]
    os.utime(path, (0, 0))
    writes: list[Future[Digest]] = []
    real = Path.unlink

    with ThreadPoolExecutor(1) as pool:

        def meets_a_writer(self: Path, missing_ok: bool = False) -> None:
            if self == path:
                writes.append(pool.submit(local.put, DATA))
                time.sleep(0.1)
                assert not writes[0].done()
            real(self, missing_ok=missing_ok)

        monkeypatch.setattr(Path, "unlink", meets_a_writer)
        assert local.delete_if_older(found, 60)
        writes[0].result(10)
    assert local.get(sha256(DATA)) == DATA


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_was_written_since_is_read(tmp_path: Path, replaced: bool) -> None:
    settled = time.time() + 10 * SETTLED_S
    files = VerifiedFiles(lambda: settled)
    path = tmp_path / "bytes"
    path.write_bytes(DATA)
    files.verify(path, sha256(DATA))
    damaged, before = b"some bytez", path.stat()
    if replaced:
        other = path.with_name("other")
        other.write_bytes(damaged)
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
        other.replace(path)
    else:
        path.write_bytes(damaged)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    for _ in range(2):
        with pytest.raises(ArtifactCorrupt):
            files.verify(path, sha256(DATA))
