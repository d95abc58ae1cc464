"""Indexes as the service knows them: what keeps weights, and what a filler may say."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from core.access.rows import Keys
from core.errors import ArtifactGone, FieldInvalid, InUse
from core.gate.rules import Verdict
from core.indexes.keep import (
    Filled,
    ShownIndex,
    clear_version,
    create_index,
    record_filling,
    show_index,
)
from core.indexes.rows import Indexes
from core.indexes.rules import IndexMethod, IndexStore
from core.jobs.orders import UpdateOrder
from core.principal import Role
from core.recipes.rules import Recipe
from core.registry.versions import Model
from core.upkeep.delete import delete_model, delete_version
from tests.support.api.seeds import a_candidate
from tests.support.evaluation.each_class import knowing_each
from tests.support.evaluation.judged import CATS, SUITES, a_judged_model, go_back, go_live
from tests.support.factories import NOW, a_key, digest
from tests.support.scene import Scene
from tests.support.storage.collecting import NEWEST_ONLY, tidy


def an_index(scene: Scene, **changes: Any) -> ShownIndex:
    given: dict[str, Any] = {
        "model": "demo",
        "name": "shop",
        "alias": "production",
        "store": IndexStore.PGVECTOR,
        "dataset": None,
        "allowed_loss": 0.02,
    }
    return create_index(scene.platform, **given | changes)


def fill(scene: Scene, model: Model, version: int, **changes: Any) -> ShownIndex:
    given: dict[str, Any] = {
        "digest": scene.version(model, version).digest,
        "method": IndexMethod.EMBEDDED,
        "baseline": None,
        "rows": 3,
        "total": 3,
        "complete": True,
    }
    filled = Filled(**given | changes)
    return record_filling(scene.platform, model="demo", name="shop", version=version, filled=filled)


def test_weights_by_which_an_index_is_searched_are_neither_collected_nor_deleted(
    scene: Scene,
) -> None:
    model = scene.model()
    for _ in range(4):
        a_candidate(scene.platform, model, verdict=Verdict.FAILED)
    an_index(scene)
    fill(scene, model, 2)
    fill(scene, model, 3, rows=0, complete=False)
    given_up = tidy(scene, NEWEST_ONLY).given_up
    assert [one.number for one in given_up] == [4]
    with pytest.raises(ArtifactGone):
        fill(scene, model, 4)
    for number in (2, 3):
        with pytest.raises(InUse, match="Indexes that have vectors by it: shop"):
            delete_version(scene.platform, model="demo", version=number, reason="a test")
        clear_version(scene.platform, model="demo", name="shop", version=number)
        delete_version(scene.platform, model="demo", version=number, reason="a test")


def test_vectors_that_are_needed_are_not_cleared_and_go_with_the_model(scene: Scene) -> None:
    model = scene.model()
    an_index(scene)
    fill(scene, model, 1)
    with pytest.raises(InUse, match="production"):
        clear_version(scene.platform, model="demo", name="shop", version=1)
    delete_model(scene.platform, model="demo")


def test_what_a_filler_says_must_fit_what_it_said_before(scene: Scene) -> None:
    model = scene.model()
    a_candidate(scene.platform, model)
    an_index(scene)
    refused: list[dict[str, Any]] = [
        {"digest": "0" * 64},
        {"rows": 2},
        {"baseline": 1},
        {"method": IndexMethod.HELD},
    ]
    for changes in refused:
        with pytest.raises(FieldInvalid):
            fill(scene, model, 2, **changes)


def test_a_version_waits_until_its_alias_moves_or_its_key_may_not_move_it_any_more(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = a_judged_model(scene)
    knowing_each(scene, model, monkeypatch, {1: SUITES, 2: SUITES + CATS})
    an_index(scene)
    fill(scene, model, 1)
    expiry = NOW + timedelta(days=1)
    operator = a_key(role=Role.OPERATOR, expires_at=expiry)
    with scene.platform.transactions() as work:
        work[Keys].add(operator, digest("its secret"))
        work.commit()
    data = scene.frozen(*CATS, each=15)
    order = UpdateOrder(dataset=data.dataset, dataset_version=data.number, recipe=Recipe())
    scene.order(model, order, ordered_by=operator.id)
    ended = scene.run()
    assert ended.result is not None
    told = {"alias": "production", "moved": False, "reason": "index_not_ready"}
    assert ended.result["promotion"] == told

    def waiting(now: datetime = NOW) -> list[int]:
        with scene.platform.transactions(read_only=True) as work:
            shown = show_index(work, model, work[Indexes].get(model.id, "shop"), now)
        return [one.version for one, _ in shown.versions if one.wanted is not None]

    assert waiting() == [2]
    assert waiting(expiry) == []
    go_live(scene, model, 2, reason="urgent", override=True)
    assert waiting() == []
    go_back(scene, model)
    assert waiting() == []
