"""Versions give up their weights once nothing needs them."""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import pytest

from core.artifacts.store import ArtifactKind
from core.errors import ArtifactGone
from core.evaluation.order import order_evaluation
from core.jobs.needs import Retention
from core.jobs.orders import EvaluateOrder
from core.jobs.rules import JobStatus, Monitor
from core.registry.alias_rows import Aliases
from core.registry.rows import Versions
from core.registry.versions import Model, Weights
from core.upkeep.gc import Amount, CollectionResult, collect_garbage
from tests.support.api.seeds import a_candidate
from tests.support.evaluation.judged import go_back
from tests.support.factories import NOW, TESTER, a_move
from tests.support.memory_artifacts import MemoryArtifacts
from tests.support.notifiers import SilentNotifier
from tests.support.ordering import ME
from tests.support.scene import Scene
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
