"""Bytes go when no row needs them, and never before."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from core.adapters.artifacts.local import LocalArtifacts
from core.domain.gate.policy import Verdict
from core.domain.jobs.job import JobStatus
from core.domain.jobs.order import EvaluateOrder
from core.domain.registry.retention import Amount, Retention
from core.domain.registry.version import Model, Version, Weights
from core.domain.values import Digest
from core.errors import ArtifactGone, ArtifactMissing, ArtifactsUnavailable
from core.ports import Artifacts, Monitor, Platform, Transactions
from core.use_cases.datasets.freeze import freeze
from core.use_cases.evaluation.order_evaluation import order_evaluation
from core.use_cases.jobs.queue import JobRequest
from core.use_cases.registry.export_version import write_tar
from core.use_cases.storage.gc import CollectionResult, collect_garbage
from core.use_cases.storage.reachability import ArtifactKind
from tests.support.api.seeds import a_candidate, a_root, some_weights
from tests.support.factories import NOW, TESTER, a_dataset, a_move, a_row, digest
from tests.support.judged import go_back, go_live
from tests.support.memory_artifacts import MemoryArtifacts
from tests.support.scene import Scene
from tests.support.silent_notifier import Silence

LATER = NOW + timedelta(days=100)
NEWEST_ONLY = Retention(keep_last=1, made_before=LATER)


@pytest.fixture
def model(scene: Scene) -> Model:
    return scene.model()


def make_old(artifacts: MemoryArtifacts) -> None:
    """As if every artifact had been stored long ago."""
    artifacts.put_at = dict.fromkeys(artifacts.put_at, 0.0)


def tidy(scene: Scene, retention: Retention | None = None, **changes: Any) -> CollectionResult:
    """Collect with everything old."""
    make_old(scene.platform.artifacts)
    return collect_garbage(scene.platform, TESTER, retention=retention, **changes)


def promoted(scene: Scene, model: Model, *numbers: int) -> None:
    """Promote versions one after another, whatever the gate said."""
    for number in numbers:
        go_live(scene, model, number, reason="for this test", override=True)


def rejected(scene: Scene, model: Model, count: int, **changes: Any) -> list[Version]:
    """Candidates that did not make it."""
    return [
        a_candidate(scene.platform, model, verdict=Verdict.FAILED, **changes) for _ in range(count)
    ]


def numbers(versions: Sequence[Version]) -> list[int]:
    return [version.number for version in versions]


def whole(scene: Scene, version: Version) -> bool:
    """Whether every byte of a version is there."""
    artifacts = scene.platform.artifacts
    try:
        listed = Weights.from_bytes(artifacts.get(version.digest)).tensors
    except ArtifactMissing:
        return False
    return all(artifacts.has(tensor.digest) for tensor in listed)


# ---- What no row names ----------------------------------------------------------------------


def test_everything_that_a_run_leaves_is_kept(scene: Scene, model: Model) -> None:
    suite = scene.suite(model, scene.frozen("hat", "bag", offset=100))
    scene.update(model, scene.frozen("cat", "dog"))
    assert scene.run().status is JobStatus.SUCCEEDED
    before = set(scene.platform.artifacts.digests())
    tidied = tidy(scene)
    assert tidied.collected == {}
    assert set(scene.platform.artifacts.digests()) == before
    assert suite.manifest in before
    kept = set(ArtifactKind) - {ArtifactKind.CHECKPOINT, ArtifactKind.UNKNOWN}
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
        work.datasets.add(dataset)
        for row in rows:
            work.datasets.add_image(row)
        work.datasets.remove_image(dataset.id, rows[2].image.pixels)
        freeze(work, artifacts, dataset, NOW)
        work.datasets.remove_image(dataset.id, rows[1].image.pixels)
        work.commit()
    assert tidy(scene).collected == {ArtifactKind.UNKNOWN: Amount(count=1, size=1)}
    assert [artifacts.has(row.image.artifact) for row in rows] == [True, True, False]


def test_the_checkpoint_of_an_unfinished_job_stays(
    scene: Scene, model: Model, artifacts: MemoryArtifacts
) -> None:
    job = scene.update(model, scene.frozen("cat", "dog"))
    with scene.platform.transactions() as work:
        claimed = work.jobs.claim("w", 60, 3)
        assert claimed is not None
        work.jobs.set_checkpoint(job.id, claimed.fence, artifacts.put(b"half an update"))
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


# ---- Beside others --------------------------------------------------------------------------


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

    def die(monitor: Monitor) -> None:
        raise ArtifactsUnavailable

    scene.script.evaluating = die
    with scene.platform.transactions(read_only=True) as work:
        known = work.references.weights()
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
        with scene.platform.transactions() as work:
            work.datasets.add(dataset)
            work.datasets.add_image(row)
            work.commit()

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
    with scene.platform.transactions() as work:
        work.datasets.add(frozen)
        work.datasets.add(other)
        work.datasets.add_image(replace(row, image=old))
        work.commit()

    def upload() -> None:
        with scene.platform.transactions() as work:
            work.datasets.add_image(replace(row, dataset=other.id, image=new))
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


# ---- Versions -------------------------------------------------------------------------------


def test_spare_versions_give_up_their_weights_and_keep_their_rows(
    scene: Scene, model: Model
) -> None:
    old, newest = rejected(scene, model, 2)
    tidied = tidy(scene, NEWEST_ONLY)
    assert numbers(tidied.given_up) == [old.number]
    assert not whole(scene, old)
    assert whole(scene, newest)
    assert scene.version(model, old.number).collected_at == NOW
    assert scene.version(model, old.number).report == old.report
    assert tidy(scene, NEWEST_ONLY).given_up == []


def test_tensors_that_a_kept_version_shares_stay(
    scene: Scene, model: Model, artifacts: MemoryArtifacts
) -> None:
    old, newest = rejected(scene, model, 2)
    shared = Weights.from_bytes(artifacts.get(newest.digest)).tensors[0]
    mixed = Weights.from_bytes(artifacts.get(old.digest))
    mixed = replace(mixed, tensors=(shared, mixed.tensors[1]))
    artifacts.put(mixed.to_bytes())
    with scene.platform.transactions() as work:
        number = work.versions.next_number(model.id)
        newer = replace(newest, number=number, digest=mixed.digest)
        work.versions.add(newer)
        work.commit()
    assert numbers(tidy(scene, NEWEST_ONLY).given_up) == [2, 3]
    assert whole(scene, newer)
    assert not whole(scene, newest)


def test_feature_statistics_stay_until_the_last_version_that_names_them_gives_up_its_weights(
    scene: Scene, model: Model, artifacts: MemoryArtifacts
) -> None:
    for parent, name in enumerate(("cat", "owl", "elk"), start=1):
        rejected(scene, model, 1, parent=parent, teaches=(name,))
    statistics = scene.version(model, 4).feature_statistics
    assert list(statistics) == ["cat", "owl", "elk"]
    tidied = tidy(scene, NEWEST_ONLY)
    assert numbers(tidied.given_up) == [2]
    assert tidied.kept[ArtifactKind.STATISTICS].count == 3
    assert all(map(artifacts.has, statistics.values()))
    rejected(scene, model, 1)
    told, done = tidy(scene, NEWEST_ONLY, dry_run=True), tidy(scene, NEWEST_ONLY)
    assert numbers(done.given_up) == [3, 4]
    assert told.collected == done.collected
    assert done.collected[ArtifactKind.STATISTICS] == Amount(count=3, size=3 * 15)
    assert not any(map(artifacts.has, statistics.values()))


def test_an_update_in_training_keeps_the_feature_statistics_of_its_parent(
    scene: Scene, model: Model, artifacts: MemoryArtifacts
) -> None:
    rejected(scene, model, 1, teaches=("owl",))
    rejected(scene, model, 1)
    scene.update(model, scene.frozen("cat", "dog"), parent=2)
    given_up = []

    def collect(monitor: Monitor) -> None:
        given_up.append(tidy(scene, Retention(keep_last=0, made_before=LATER)).given_up)

    scene.script.training = collect
    assert scene.run().status is JobStatus.SUCCEEDED
    assert [numbers(versions) for versions in given_up] == [[3]]
    statistics = scene.version(model, 4).feature_statistics
    assert statistics.keys() == {"owl", "cat", "dog"}
    assert all(map(artifacts.has, statistics.values()))


@pytest.mark.parametrize(
    ("live", "back", "given_up"),
    [
        ([], [], [2, 3, 4]),
        ([2], [], [3, 4]),  # 1 and 2 are where rollbacks go and what is live
        ([2, 4], [], [3]),
        ([2, 4], [2], [3, 4]),  # 4 was given up by the rollback
        ([2, 3, 4], [2], [3, 4]),
    ],
)
def test_what_is_live_and_what_rollbacks_come_back_to_stays(
    scene: Scene, model: Model, live: list[int], back: list[int], given_up: list[int]
) -> None:
    rejected(scene, model, 4)
    promoted(scene, model, *live)
    for to in back:
        go_back(scene, model, to=to, override=True)
    assert numbers(tidy(scene, NEWEST_ONLY).given_up) == given_up


def test_the_parent_of_a_kept_version_stays(scene: Scene, model: Model) -> None:
    rejected(scene, model, 2)
    rejected(scene, model, 1, parent=2)
    assert numbers(tidy(scene, NEWEST_ONLY).given_up) == [3]


def test_young_versions_stay(scene: Scene, model: Model) -> None:
    rejected(scene, model, 3)
    assert tidy(scene, Retention(keep_last=0, made_before=NOW)).given_up == []
    assert numbers(tidy(scene, Retention(keep_last=2, made_before=LATER)).given_up) == [2]
    assert numbers(tidy(scene, Retention(keep_last=0, made_before=LATER)).given_up) == [3, 4]


@pytest.mark.parametrize("order", ["update", "evaluate"])
def test_what_an_unfinished_job_needs_stays(scene: Scene, model: Model, order: str) -> None:
    for _ in range(3):
        a_candidate(scene.platform, model)
    if order == "update":
        scene.update(model, scene.frozen("cat", "dog"), parent=3)
    else:
        scene.order(model, EvaluateOrder(version=3))
    assert numbers(tidy(scene, NEWEST_ONLY).given_up) == [2]
    assert scene.run().status is JobStatus.SUCCEEDED


def test_what_ended_jobs_read_may_go(scene: Scene, model: Model) -> None:
    for _ in range(3):
        a_candidate(scene.platform, model)
    scene.order(model, EvaluateOrder(version=3))
    assert scene.run().status is JobStatus.SUCCEEDED
    assert numbers(tidy(scene, NEWEST_ONLY).given_up) == [2, 3]


def test_jobs_of_another_model_keep_no_version(scene: Scene, model: Model) -> None:
    other = _another(scene)
    for _ in range(3):
        a_candidate(scene.platform, model)
        a_candidate(scene.platform, other)
    scene.order(other, EvaluateOrder(version=3))
    spare = tidy(scene, NEWEST_ONLY).given_up
    assert {(version.model, version.number) for version in spare} == {
        *((model.id, 2), (model.id, 3)),
        (other.id, 2),
    }


def test_tensors_are_told_apart_although_one_list_of_them_is_damaged(
    scene: Scene, model: Model, artifacts: MemoryArtifacts
) -> None:
    damaged, *_ = rejected(scene, model, 3)
    artifacts.bytes_of[damaged.digest] = b"damaged"
    collected = tidy(scene, NEWEST_ONLY).collected
    assert {kind: amount.count for kind, amount in collected.items()} == {
        ArtifactKind.WEIGHTS: 2,
        ArtifactKind.TENSOR: 2,  # of the other
        ArtifactKind.UNKNOWN: 2,
    }


def test_a_version_without_weights_says_so(scene: Scene, model: Model) -> None:
    old, _ = rejected(scene, model, 2)
    promoted(scene, model, 2)
    go_back(scene, model, override=True)
    assert numbers(tidy(scene, NEWEST_ONLY).given_up) == [2]
    gone = scene.version(model, old.number)
    acts: list[Callable[[], object]] = [
        lambda: promoted(scene, model, 2),
        lambda: go_back(scene, model, to=2, override=True),
        lambda: write_tar(scene.platform.artifacts, gone, "f", BytesIO()),
        lambda: order_evaluation(
            scene.platform,
            Silence(),
            JobRequest(principal=TESTER),
            model=model.name,
            version=2,
        ),
    ]
    for act in acts:
        with pytest.raises(ArtifactGone):
            act()
    scene.update(model, scene.frozen("cat", "dog"), parent=2)
    ended = scene.run()
    assert ended.error is not None
    assert ended.error["code"] == "artifact_gone"


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_version_that_goes_live_meanwhile_keeps_its_weights(scene: Scene, model: Model) -> None:
    """The collector waits for the promotion's lock, and then looks again."""
    old, _ = rejected(scene, model, 2)
    make_old(scene.platform.artifacts)
    runs: list[Future[CollectionResult]] = []
    with ThreadPoolExecutor(1) as pool, scene.platform.transactions() as work:
        work.versions.get(model.id, old.number, lock=True)
        runs.append(pool.submit(collect_garbage, scene.platform, TESTER, retention=NEWEST_ONLY))
        with pytest.raises(TimeoutError):
            runs[0].result(0.5)
        alias = work.aliases.get(model.id, "production")
        moved = replace(alias, version=old.number, revision=alias.revision + 1)
        work.aliases.move(moved, a_move(moved, from_version=1))
        work.commit()
        assert runs[0].result(10).given_up == []
    assert whole(scene, old)


def test_a_collection_is_safe_on_every_store(
    transactions: Transactions, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    stores: list[Artifacts] = [LocalArtifacts(tmp_path / "a"), request.getfixturevalue("s3")]
    for n, store in enumerate(stores):
        scene = Scene(transactions, store)
        platform: Platform = scene.platform
        model = scene.model() if not n else _another(scene)
        old, newest = rejected(scene, model, 2)
        orphan = store.put(b"orphan")
        tidied = collect_garbage(
            replace(platform), TESTER, grace=timedelta(seconds=0), retention=NEWEST_ONLY
        )
        assert tidied.collected[ArtifactKind.TENSOR].count == 2
        assert not store.has(orphan)
        assert not whole(scene, old)
        assert whole(scene, newest)


def _another(scene: Scene) -> Model:
    return a_root(scene.platform, "another")
