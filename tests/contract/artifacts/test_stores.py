"""Properties of every artifact store: in a folder, on S3, and in memory for the tests."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.artifacts.local import LocalArtifacts
from core.artifacts.s3 import S3Artifacts
from core.artifacts.store import Artifacts
from core.errors import ArtifactCorrupt, ArtifactMissing
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


def test_a_view_is_as_good_as_bytes(artifacts: Artifacts) -> None:
    assert artifacts.get(artifacts.put(memoryview(DATA)[5:])) == b"bytes"


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


@pytest.mark.parametrize("write", [in_pieces, in_a_batch])
def test_writing_stored_bytes_again_resets_their_age_and_mends_them(
    store: Store, write: Callable[[Artifacts], Digest]
) -> None:
    found = write(store.artifacts)
    store.age(found)
    assert write(store.artifacts) == found
    assert not store.artifacts.delete_if_older(found, AGE_S)
    store.damage(found, b"some bytez")
    write(store.artifacts)
    assert store.artifacts.get(found) == DATA


def test_bytes_are_renewed_once_they_are_verified(store: Store) -> None:
    found = store.artifacts.put(DATA)
    store.age(found)
    store.artifacts.renew(found)
    assert not store.artifacts.delete_if_older(found, AGE_S)
    assert store.artifacts.get(found) == DATA
    store.damage(found, b"some bytez")
    with pytest.raises(ArtifactCorrupt):
        store.artifacts.renew(found)
    with pytest.raises(ArtifactMissing):
        store.artifacts.renew(digest("nothing"))


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
    store.artifacts.delete(found)
    with pytest.raises(ArtifactMissing):
        store.artifacts.verify(found)


def test_pieces_are_reported_and_verified_at_their_end(store: Store) -> None:
    data, moved = os.urandom(600_000), list[int]()
    found = store.artifacts.put(data)
    parts = store.artifacts.pieces(found, moved.append)
    assert len(next(parts)) < len(data)
    assert sum(map(len, parts)) < len(data) == sum(moved)
    store.damage(found, data[:-1])
    with pytest.raises(ArtifactCorrupt):
        list(store.artifacts.pieces(found))
    with pytest.raises(ArtifactMissing):
        list(store.artifacts.pieces(digest("nothing")))


def test_same_bytes_are_stored_once(artifacts: Artifacts) -> None:
    assert artifacts.put(DATA) == artifacts.put(DATA)
    assert list(artifacts.digests()) == [sha256(DATA)]
    assert [(row.digest, row.size) for row in artifacts.stored()] == [(sha256(DATA), len(DATA))]


def test_many_writers_of_the_same_bytes_do_not_disturb_one_another(artifacts: Artifacts) -> None:
    data = os.urandom(100_000)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(artifacts.put, [data] * 8)) == {sha256(data)}
    assert artifacts.get(sha256(data)) == data
    assert list(artifacts.digests()) == [sha256(data)]


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


@pytest.mark.parametrize("damaged", [b"SOME BYTES", DATA[:4], b""])
def test_damaged_artifact_is_healed_by_storing_it_again(store: Store, damaged: bytes) -> None:
    found = store.artifacts.put(DATA)
    store.damage(found, damaged)
    assert store.artifacts.put(DATA) == found
    assert store.artifacts.get(found) == DATA


def test_one_flipped_bit_is_found(store: Store) -> None:
    found = store.artifacts.put(DATA)
    damaged = bytearray(DATA)
    damaged[3] ^= 1
    store.damage(found, bytes(damaged))
    with pytest.raises(ArtifactCorrupt):
        store.artifacts.get(found)


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_name_that_is_no_digest_never_reaches_the_store(artifacts: Artifacts, name: str) -> None:
    artifacts.put(DATA)
    assert not artifacts.has(Digest(name))
    artifacts.delete(Digest(name))
    with pytest.raises(ArtifactMissing):
        artifacts.get(Digest(name))


def test_only_an_old_artifact_is_collected(artifacts: Artifacts) -> None:
    found = artifacts.put(DATA)
    assert not artifacts.delete_if_older(found, 60)
    assert artifacts.get(found) == DATA
    assert artifacts.delete_if_older(found, 0)
    assert not artifacts.has(found)
    assert not artifacts.delete_if_older(found, 0)
    assert artifacts.put(DATA) == found


def test_what_is_put_again_is_young_again(store: Store) -> None:
    found = store.artifacts.put(DATA)
    store.age(found)
    store.artifacts.put(DATA)
    assert not store.artifacts.delete_if_older(found, AGE_S)
    assert [row.age_s < AGE_S for row in store.artifacts.stored()] == [True]


def test_room_is_told_before_anything_is_stored(artifacts: Artifacts) -> None:
    assert artifacts.free_bytes() > 0
