"""Versions give up their weights once nothing needs them, not even to score their line."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import pytest

from core.artifacts.store import ArtifactKind
from core.errors import ArtifactGone
from core.evaluation.order import order_evaluation
from core.gate.rules import Verdict
from core.jobs.needs import Retention
from core.jobs.orders import EvaluateOrder
from core.jobs.queue import cancel_job
from core.jobs.rules import Job, JobStatus, Monitor
from core.registry.alias_rows import Aliases
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version, Weights
from core.upkeep.gc import Amount, CollectionResult, collect_garbage
from core.values import ModelId
from tests.support.api.seeds import a_candidate
from tests.support.evaluation.judged import go_back
from tests.support.factories import NOW, TESTER, a_move
from tests.support.memory_artifacts import MemoryArtifacts
from tests.support.notifiers import SilentNotifier
from tests.support.ordering import ME
from tests.support.scene import Scene, nothing
from tests.support.storage.collecting import (
    LATER,
    NEWEST_ONLY,
    make_old,
    numbers,
    promoted,
    rejected,
    tidy,
    whole,
)


@pytest.fixture
def model(scene: Scene) -> Model:
    return scene.model()


def test_spare_versions_give_up_their_weights_and_keep_their_rows(
    scene: Scene, model: Model
) -> None:
    old, newest = rejected(scene, model, 2)
    assert tidy(scene, Retention(keep_last=1, made_before=NOW)).given_up == []
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
        number = work[Versions].next_number(model.id)
        newer = replace(newest, number=number, digest=mixed.digest)
        work[Versions].add(newer)
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
        ([2, 4], [], [3]),  # 1 and 2 are where rollbacks go, and 4 is live
        ([2, 4], [2], [3, 4]),  # 4 was given up by the rollback
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


def test_what_an_unfinished_job_of_the_model_needs_stays(scene: Scene, model: Model) -> None:
    other = scene.model("another")
    for _ in range(3):
        a_candidate(scene.platform, model)
        a_candidate(scene.platform, other)
    scene.order(other, EvaluateOrder(version=3))
    spare = tidy(scene, NEWEST_ONLY).given_up
    assert {(version.model, version.number) for version in spare} == {
        *((model.id, 2), (model.id, 3)),
        (other.id, 2),
    }
    assert scene.run().status is JobStatus.SUCCEEDED
    assert numbers(tidy(scene, NEWEST_ONLY).given_up) == [3]


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
    rejected(scene, model, 2)
    assert numbers(tidy(scene, NEWEST_ONLY).given_up) == [2]
    with pytest.raises(ArtifactGone):
        order_evaluation(scene.platform, SilentNotifier(), ME, model=model.name, version=2)
    scene.update(model, scene.frozen("cat", "dog"), parent=2)
    ended = scene.run()
    assert ended.error["code"] == "artifact_gone"


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_version_that_goes_live_meanwhile_keeps_its_weights(scene: Scene, model: Model) -> None:
    """The collector waits for the promotion's lock, and then looks again."""
    old, _ = rejected(scene, model, 2)
    make_old(scene.platform.artifacts)
    runs: list[Future[CollectionResult]] = []
    with ThreadPoolExecutor(1) as pool, scene.platform.transactions() as work:
        work[Versions].get(model.id, old.number, lock=True)
        runs.append(pool.submit(collect_garbage, scene.platform, TESTER, retention=NEWEST_ONLY))
        with pytest.raises(TimeoutError):
            runs[0].result(0.5)
        alias = work[Aliases].get(model.id, "production")
        moved = replace(alias, version=old.number, revision=alias.revision + 1)
        work[Aliases].move(moved, a_move(moved, from_version=1))
        work.commit()
        assert runs[0].result(10).given_up == []
    assert whole(scene, old)


PAIRS = (("cat", "dog"), ("owl", "elk"), ("ant", "bee"), ("cod", "eel"), ("gnu", "yak"))


@pytest.fixture
def examined(scene: Scene) -> Model:
    model = scene.model()
    scene.suite(model, scene.frozen("hat", "bag", offset=500))
    return model


def teach(scene: Scene, model: Model, *, parent: int | None = None) -> Job:
    """Update a model with two classes that no version has learned; the job as it ended."""
    count = len(scene.versions(model))
    pair = PAIRS[count - 1] if count <= len(PAIRS) else (f"left {count}", f"right {count}")
    scene.update(model, scene.frozen(*pair, offset=20 * count), parent=parent, auto_promote=False)
    return scene.run()


def teach_a_line(scene: Scene, model: Model, length: int) -> None:
    for parent in range(1, length):
        assert teach(scene, model, parent=parent).status is JobStatus.SUCCEEDED


def collect(scene: Scene) -> list[int]:
    """Collect all but what the newest version needs; return the versions that gave up weights."""
    return numbers(tidy(scene, NEWEST_ONLY).given_up)


def unjudged(scene: Scene, model: Model, *, parent: int) -> None:
    """A version whose job was cancelled before it was scored."""
    count = len(scene.versions(model))
    data = scene.frozen(*PAIRS[count - 1], offset=20 * count)
    job = scene.update(model, data, parent=parent, auto_promote=False)

    def cancel(monitor: Monitor) -> None:
        cancel_job(scene.platform, job.id)
        monitor.advance("evaluating", 1, 1)

    scene.script.evaluating = cancel
    assert scene.run().status is JobStatus.CANCELLED
    scene.script.evaluating = nothing
    assert scene.version(model, count + 1).verdict is None


def test_an_ancestor_keeps_its_weights_until_it_was_asked_what_it_learned(
    scene: Scene, examined: Model
) -> None:
    unjudged(scene, examined, parent=1)
    unjudged(scene, examined, parent=2)
    unjudged(scene, examined, parent=1)  # nobody's ancestor
    unjudged(scene, examined, parent=3)
    assert collect(scene) == [4]
    ended = teach(scene, examined, parent=5)
    assert (ended.status, ended.error) == (JobStatus.SUCCEEDED, None)


def test_what_cannot_be_scored_any_more_is_not_ordered(scene: Scene, examined: Model) -> None:
    teach_a_line(scene, examined, 5)
    assert collect(scene) == [2, 3]
    with pytest.raises(ArtifactGone) as told:
        order_evaluation(scene.platform, SilentNotifier(), ME, model=examined.name, version=4)
    assert told.value.facts["version"] == 3
    assert order_evaluation(scene.platform, SilentNotifier(), ME, model=examined.name, version=5)
    assert scene.run().status is JobStatus.SUCCEEDED


def before_the_first_lock(monkeypatch: pytest.MonkeyPatch, act: Callable[[Versions], None]) -> None:
    """Let something happen just before a version is locked for the first time."""
    get, waiting = Versions.get, [act]

    def get_later(self: Versions, of: ModelId, number: int, *, lock: bool = False) -> Version:
        if lock and waiting:
            waiting.pop()(self)
        return get(self, of, number, lock=lock)

    monkeypatch.setattr(Versions, "get", get_later)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_only_versions_that_were_locked_before_the_last_look_give_up_their_weights(
    scene: Scene, examined: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that becomes spare between the two looks may be about to go live."""
    for _ in range(3):
        a_candidate(scene.platform, examined, verdict=Verdict.FAILED)
    job = scene.order(examined, EvaluateOrder(version=3))
    before_the_first_lock(monkeypatch, lambda _: cancel_job(scene.platform, job.id))
    assert collect(scene) == [2]
    assert collect(scene) == [3]


def test_a_version_that_is_deleted_meanwhile_is_left_to_its_deletion(
    scene: Scene, examined: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        a_candidate(scene.platform, examined, verdict=Verdict.FAILED)
    before_the_first_lock(monkeypatch, lambda versions: versions.remove(examined.id, 2, NOW))
    assert collect(scene) == [3]
