"""Bytes go when no row needs them, and never before."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from core.artifacts.local import LocalArtifacts
from core.artifacts.store import ArtifactKind, Artifacts
from core.database.work import Transactions
from core.datasets.freeze import freeze
from core.datasets.rows import Datasets
from core.errors import ArtifactsUnavailable
from core.jobs.orders import EvaluateOrder
from core.jobs.rows import Jobs
from core.jobs.rules import JobStatus
from core.platform import Platform
from core.registry.versions import Model
from core.upkeep.gc import Amount, collect_garbage
from core.values import Digest
from tests.support.factories import NOW, TESTER, a_dataset, a_row, digest
from tests.support.memory_artifacts import MemoryArtifacts
from tests.support.scene import Scene
from tests.support.storage.collecting import (
    NEWEST_ONLY,
    another,
    make_old,
    numbers,
    rejected,
    tidy,
    whole,
)


@pytest.fixture
def model(scene: Scene) -> Model:
    return scene.model()


def test_everything_that_a_run_leaves_is_kept(scene: Scene, model: Model) -> None:
    suite = scene.suite(model, scene.frozen("hat", "bag", offset=100))
    scene.update(model, scene.frozen("cat", "dog"))
    assert scene.run().status is JobStatus.SUCCEEDED
    before = set(scene.platform.artifacts.digests())
    tidied = tidy(scene)
    assert tidied.collected == {}
    assert set(scene.platform.artifacts.digests()) == before
    assert suite.manifest in before
    of_others = {ArtifactKind.CHECKPOINT, ArtifactKind.ARCHIVE, ArtifactKind.EXPORT}
    of_others |= {ArtifactKind.VECTORS, ArtifactKind.VECTOR_PARTS, ArtifactKind.UNKNOWN}
    kept = set(ArtifactKind) - of_others
    assert set(tidied.kept) == kept
    assert scene.order(model, EvaluateOrder(version=2)) is not None
    assert scene.run().status is JobStatus.SUCCEEDED


def test_what_no_row_names_goes_once_it_is_old(scene: Scene, artifacts: MemoryArtifacts) -> None:
    orphan = artifacts.put(b"of a worker that died before it could commit")
    tidied = collect_garbage(scene.platform, TESTER)
    assert (tidied.young, tidied.collected) == (Amount(count=1, size=44), {})
    assert tidy(scene).collected == {ArtifactKind.UNKNOWN: Amount(count=1, size=44)}
    assert not artifacts.has(orphan)


def test_a_dry_run_tells_all_and_deletes_nothing(
    scene: Scene, model: Model, artifacts: MemoryArtifacts
) -> None:
    artifacts.put(b"orphan")
    old, _ = rejected(scene, model, 2)
    before = set(artifacts.digests())
    told = tidy(scene, NEWEST_ONLY, dry_run=True)
    assert set(artifacts.digests()) == before
    assert scene.version(model, old.number).collected_at is None
    done = tidy(scene, NEWEST_ONLY)
    assert numbers(told.given_up) == numbers(done.given_up) == [2]
    assert told.collected == done.collected
    assert set(done.collected) == {ArtifactKind.UNKNOWN, ArtifactKind.WEIGHTS, ArtifactKind.TENSOR}
    assert done.collected[ArtifactKind.TENSOR] == Amount(count=2, size=20)
    assert sum(amount.count for amount in done.collected.values()) == len(
        before - set(artifacts.digests())
    )


def test_images_stay_while_a_dataset_or_a_manifest_holds_them(
    scene: Scene, artifacts: MemoryArtifacts
) -> None:
    dataset, work_with = a_dataset(), scene.platform.transactions
    rows = [
        replace(row, image=replace(row.image, artifact=artifacts.put(f"{n}".encode())))
        for n, row in enumerate(a_row(dataset, digest(f"{n}"), "cat") for n in range(3))
    ]
    with work_with() as work:
        work[Datasets].add(dataset)
        for row in rows:
            work[Datasets].add_image(row)
        work[Datasets].remove_image(dataset.id, rows[2].image.pixels)
        freeze(work, artifacts, dataset, NOW)
        work[Datasets].remove_image(dataset.id, rows[1].image.pixels)
        work.commit()
    assert tidy(scene).collected == {ArtifactKind.UNKNOWN: Amount(count=1, size=1)}
    assert [artifacts.has(row.image.artifact) for row in rows] == [True, True, False]


def test_the_checkpoint_of_an_unfinished_job_stays(
    scene: Scene, model: Model, artifacts: MemoryArtifacts
) -> None:
    job = scene.update(model, scene.frozen("cat", "dog"))
    with scene.platform.transactions() as work:
        claimed = work[Jobs].claim("w", 60, 3)
        assert claimed is not None
        work[Jobs].set_checkpoint(job.id, claimed.fence, artifacts.put(b"half an update"))
        work.commit()
    assert tidy(scene).kept[ArtifactKind.CHECKPOINT] == Amount(count=1, size=14)


def test_lists_that_cannot_be_read_stop_the_collection(
    scene: Scene, model: Model, artifacts: MemoryArtifacts
) -> None:
    orphan = artifacts.put(b"orphan")
    root = scene.version(model, 1)
    artifacts.bytes_of[root.digest] = b"damaged"
    tidied = tidy(scene)
    assert (tidied.unreadable, tidied.collected) == ([root.digest], {})
    assert artifacts.has(orphan)


def test_every_list_that_cannot_be_read_is_told(
    scene: Scene, model: Model, artifacts: MemoryArtifacts
) -> None:
    data = [scene.frozen("cat", "dog", offset=10 * n) for n in range(3)]
    lists = [*(one.manifest for one in data[:2]), scene.version(model, 1).digest]
    artifacts.bytes_of.update(dict.fromkeys(lists, b"damaged"))
    tidied = tidy(scene)
    assert sorted(tidied.unreadable) == sorted(lists)
    assert (tidied.kept, tidied.collected) == ({}, {})


def test_a_store_that_is_away_deletes_nothing(
    scene: Scene, model: Model, artifacts: MemoryArtifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    orphan = artifacts.put(b"orphan")

    def away(digest: Digest) -> bytes:
        raise ArtifactsUnavailable

    monkeypatch.setattr(artifacts, "get", away)
    with pytest.raises(ArtifactsUnavailable):
        tidy(scene)
    assert artifacts.has(orphan)


def test_a_run_that_takes_too_long_stops_and_says_so(
    scene: Scene, artifacts: MemoryArtifacts
) -> None:
    for n in range(5):
        artifacts.put(f"orphan {n}".encode())
    make_old(artifacts)
    hours = iter(range(0, 1000, 10))
    slow = replace(scene.platform, clock=lambda: NOW + timedelta(hours=next(hours)))
    tidied = collect_garbage(slow, TESTER)
    assert not tidied.complete
    assert 0 < tidied.collected[ArtifactKind.UNKNOWN].count < 5


def test_a_run_that_was_suspended_for_long_deletes_nothing_when_it_wakes(
    scene: Scene, artifacts: MemoryArtifacts
) -> None:
    orphan = artifacts.put(b"named by a row, for all it knows, since it has looked")
    make_old(artifacts)
    times = iter((NOW, NOW + timedelta(hours=13)))
    suspended = replace(scene.platform, clock=lambda: next(times))
    tidied = collect_garbage(suspended, TESTER)
    assert (tidied.complete, tidied.collected) == (False, {})
    assert artifacts.has(orphan)


def test_temporaries_of_dead_writers_are_swept(transactions: Transactions, tmp_path: Path) -> None:
    scene = Scene(transactions, LocalArtifacts(tmp_path))
    left = tmp_path / "ab" / ".new-0123"
    left.parent.mkdir()
    left.write_bytes(b"half")
    assert (
        collect_garbage(scene.platform, TESTER, grace=timedelta(0), dry_run=True).temporaries == 0
    )
    assert collect_garbage(scene.platform, TESTER, grace=timedelta(0)).temporaries == 1
    assert not left.exists()


def test_a_collection_is_safe_on_every_store(
    transactions: Transactions, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    stores: list[Artifacts] = [LocalArtifacts(tmp_path / "a"), request.getfixturevalue("s3")]
    for n, store in enumerate(stores):
        scene = Scene(transactions, store)
        platform: Platform = scene.platform
        model = scene.model() if not n else another(scene)
        old, newest = rejected(scene, model, 2)
        orphan = store.put(b"orphan")
        tidied = collect_garbage(
            replace(platform), TESTER, grace=timedelta(seconds=0), retention=NEWEST_ONLY
        )
        assert tidied.collected[ArtifactKind.TENSOR].count == 2
        assert not store.has(orphan)
        assert not whole(scene, old)
        assert whole(scene, newest)
