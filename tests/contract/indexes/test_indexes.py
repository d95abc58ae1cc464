"""Indexes as the service knows them: what keeps weights, and what a filler may say."""

from typing import Any

import pytest

from core.errors import ArtifactGone, FieldInvalid, InUse
from core.gate.rules import Verdict
from core.indexes.keep import (
    Filled,
    ShownIndex,
    clear_version,
    create_index,
    record_filling,
)
from core.indexes.rules import IndexMethod, IndexStore
from core.registry.versions import Model
from core.upkeep.delete import delete_model, delete_version
from tests.support.api.seeds import a_candidate
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
