"""Bytes go when no row needs them and never before, whatever arrives meanwhile."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from unittest.mock import Mock

import pytest

from core.artifacts.local import LocalArtifacts
from core.artifacts.store import ArtifactKind
from core.database.work import Transactions
from core.datasets.freeze import freeze
from core.datasets.rows import Datasets
from core.engines.rows import EngineChecks
from core.errors import ArtifactsUnavailable
from core.jobs.rules import JobStatus
from core.registry.version_rows import Versions
from core.registry.versions import Model
from core.upkeep.gc import Amount, collect_garbage
from core.upkeep.rows import ArtifactRoots
from core.values import Digest
from tests.support.api.seeds import some_weights
from tests.support.claims import checkpoint, claim
from tests.support.factories import NOW, TESTER, a_dataset, a_row, an_engine_check, digest
from tests.support.memory_artifacts import MemoryArtifacts
from tests.support.scene import Scene
from tests.support.storage.collecting import NEWEST_ONLY, make_old, numbers, rejected, tidy, whole


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
    of_others |= {ArtifactKind.VECTORS, ArtifactKind.VECTOR_PARTS, ArtifactKind.GRAPHS}
    of_others |= {ArtifactKind.UNKNOWN}
    assert set(tidied.kept) == set(ArtifactKind) - of_others


def test_what_no_row_names_goes_once_it_is_old(scene: Scene, artifacts: MemoryArtifacts) -> None:
    orphan = artifacts.put(b"of a worker that died before it could commit")
    tidied = collect_garbage(scene.platform, TESTER)
    assert (tidied.young, tidied.collected) == (Amount(count=1, size=44), {})
    assert tidy(scene).collected == {ArtifactKind.UNKNOWN: Amount(count=1, size=44)}
    assert not artifacts.has(orphan)


def test_graphs_are_kept_as_long_as_a_version_has_the_weights(
    scene: Scene, model: Model, artifacts: MemoryArtifacts
) -> None:
    used, unused, coming = map(artifacts.put, (b"of one", b"of none", b"of one to come"))
    with scene.platform.transactions() as work:
        root = work[Versions].get(model.id, 1)
        old, new = NOW - timedelta(days=2), NOW
        for weights, graphs, at in (
            (root.digest, used, old),
            (digest("gone"), unused, old),
            (digest("to come"), coming, new),  # of a version that a job is about to commit
        ):
            work[EngineChecks].put(an_engine_check(weights, graphs=graphs, checked_at=at))
        work.commit()
    tidied = tidy(scene)
    assert tidied.collected == {ArtifactKind.UNKNOWN: Amount(count=1, size=len(b"of none"))}
    assert [*map(artifacts.has, (used, unused, coming))] == [True, False, True]
    assert tidied.kept[ArtifactKind.GRAPHS].count == 2


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
        work[Datasets].add_images(dataset.id, rows)
        work[Datasets].remove_image(dataset.id, rows[2].image.pixels)
        freeze(work, artifacts, dataset, NOW)
        work[Datasets].remove_image(dataset.id, rows[1].image.pixels)
        work.commit()
    assert tidy(scene).collected == {ArtifactKind.UNKNOWN: Amount(count=1, size=1)}
    assert [artifacts.has(row.image.artifact) for row in rows] == [True, True, False]


def test_the_checkpoint_of_an_unfinished_job_stays(scene: Scene, model: Model) -> None:
    scene.update(model, scene.frozen("cat", "dog"))
    checkpoint(scene, claim(scene.platform.transactions))
    assert tidy(scene).kept[ArtifactKind.CHECKPOINT] == Amount(count=1, size=5)


def test_every_list_that_cannot_be_read_is_told_and_stops_the_collection(
    scene: Scene, model: Model, artifacts: MemoryArtifacts
) -> None:
    data = [scene.frozen("cat", "dog", offset=10 * n) for n in range(3)]
    orphan = artifacts.put(b"orphan")
    lists = [*(one.manifest for one in data[:2]), scene.version(model, 1).digest]
    artifacts.bytes_of.update(dict.fromkeys(lists, b"damaged"))
    tidied = tidy(scene)
    assert sorted(tidied.unreadable) == sorted(lists)
    assert (tidied.kept, tidied.collected) == ({}, {})
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


class Beside(MemoryArtifacts):
    """Lets something happen just before an artifact is collected."""

    happens: Callable[[Digest], object] = staticmethod(lambda digest: None)

    def delete_if_older(self, digest: Digest, older_than_s: float) -> bool:
        self.happens(digest)
        return super().delete_if_older(digest, older_than_s)


def test_an_update_that_publishes_what_is_being_collected_keeps_it(
    transactions: Transactions,
) -> None:
    """The worst moment: orphans of a dead attempt, published again after the rows were read."""
    artifacts = Beside()
    scene = Scene(transactions, artifacts)
    model = scene.model()
    scene.update(model, scene.frozen("cat", "dog"))
    scene.script.evaluating = Mock(side_effect=ArtifactsUnavailable)
    with scene.platform.transactions(read_only=True) as work:
        known = work[ArtifactRoots].weights()
    orphans = some_weights(scene.platform, 101)  # what the first attempt makes
    statistics = {name: artifacts.put(f"features of {name}".encode()) for name in ("cat", "dog")}
    assert orphans.digest not in known
    artifacts.happens = lambda _: scene.run() if not scene.script.tasks else None
    tidied = tidy(scene)
    assert tidied.collected == {}
    made = scene.version(model, 2)
    assert (made.digest, made.feature_statistics) == (orphans.digest, statistics)
    assert whole(scene, made)
    assert all(map(artifacts.has, statistics.values()))


def test_an_image_that_is_uploaded_again_is_kept(transactions: Transactions) -> None:
    artifacts = Beside()
    scene = Scene(transactions, artifacts)
    dataset = a_dataset()
    orphan = artifacts.put(b"an image that was removed once")

    def upload(_: Digest) -> None:
        row = a_row(dataset, digest("pixels"), "cat")
        row = replace(row, image=replace(row.image, artifact=artifacts.put(artifacts.get(orphan))))
        scene.draft(dataset, row)

    artifacts.happens = upload
    assert tidy(scene).collected == {}
    assert artifacts.has(orphan)


def test_an_image_whose_form_is_replaced_while_a_dataset_is_frozen_is_kept(
    scene: Scene, artifacts: MemoryArtifacts
) -> None:
    """The manifest names the form that was read, and no row does until it is committed."""
    frozen, other = a_dataset(), a_dataset()
    row = a_row(frozen, digest("pixels"), "cat")
    old, new = (
        replace(row.image, artifact=artifacts.put(form)) for form in (b"by one Pillow", b"by two")
    )
    scene.draft(frozen, replace(row, image=old))
    scene.draft(other)

    def upload() -> None:
        with scene.platform.transactions() as work:
            work[Datasets].add_images(other.id, [replace(row, dataset=other.id, image=new)])
            work.commit()

    with ThreadPoolExecutor(2) as pool, scene.platform.transactions() as work:
        freeze(work, artifacts, frozen, NOW)
        replacing = pool.submit(upload)
        wait([replacing], timeout=0.5)  # it waits for us, or has replaced the form
        artifacts.put_at[old.artifact] = 0.0  # all else was put just now
        collecting = pool.submit(collect_garbage, scene.platform, TESTER)
        wait([collecting], timeout=0.5)  # it waits for us, or has ended
        work.commit()
        replacing.result(10)
        collecting.result(10)
    assert artifacts.has(old.artifact)
    assert artifacts.has(new.artifact)


@pytest.mark.parametrize(("hours", "deleted"), [(10, 1), (13, 0)])  # for each look at the clock
def test_a_run_that_takes_too_long_or_was_suspended_stops_and_says_so(
    scene: Scene, artifacts: MemoryArtifacts, hours: int, deleted: int
) -> None:
    for n in range(5):
        artifacts.put(f"named by a row, for all it knows, since it has looked: {n}".encode())
    make_old(artifacts)
    times = (NOW + timedelta(hours=n * hours) for n in range(9))
    slow = replace(scene.platform, clock=lambda: next(times))
    tidied = collect_garbage(slow, TESTER)
    assert not tidied.complete
    assert sum(amount.count for amount in tidied.collected.values()) == deleted
    assert len(list(artifacts.digests())) == 5 - deleted
