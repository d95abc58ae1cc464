"""Versions that failed after they were live: overrides and rollbacks."""

import pytest

from core.errors import GateFailed, NoPrevious
from core.gate.rules import Verdict
from core.registry.alias_rows import Aliases
from core.registry.rows import Versions
from core.registry.versions import Model
from tests.support.api.seeds import a_candidate
from tests.support.evaluation.judged import (
    CATS,
    OWLS,
    a_judged_model,
    go_back,
    go_live,
    update,
)
from tests.support.scene import Scene


@pytest.fixture
def model(scene: Scene) -> Model:
    return a_judged_model(scene)


def line_of_three(scene: Scene, alias: str = "production") -> Model:
    """A model whose versions 2, 3 and 4 were live, one trained from the other; then 3 failed."""
    model = scene.model()
    for number in (2, 3, 4):
        a_candidate(scene.platform, model, verdict=Verdict.PASSED, parent=number - 1)
        go_live(scene, model, number, alias=alias)
    fail(scene, model, 3)
    return model


def fail(scene: Scene, model: Model, number: int) -> None:
    """Let a version's newest verdict be that it failed."""
    with scene.platform.transactions() as work:
        version = work[Versions].get(model.id, number)
        assert version.report is not None
        work[Versions].save(version.judged(Verdict.FAILED, version.report))
        work.commit()


def test_rollback_passes_over_a_version_that_has_failed_since_unless_it_is_overridden(
    scene: Scene,
) -> None:
    model = line_of_three(scene)
    with pytest.raises(GateFailed) as refusal:
        go_back(scene, model, to=3)
    scores = {"measures": [{"name": "emoji"}], "reasons": ["It forgot."]}
    assert refusal.value.facts["scores"] == scores
    assert go_back(scene, model) == 2
    assert go_back(scene, model, to=3, override=True) == 3
    with scene.platform.transactions(read_only=True) as work:
        assert work[Aliases].history(model.id, "production")[-1].override


def test_rollback_that_could_only_go_to_what_failed_names_it(scene: Scene) -> None:
    model = line_of_three(scene, alias="staging")
    fail(scene, model, 2)
    with pytest.raises(NoPrevious) as refusal:
        go_back(scene, model, alias="staging")
    assert refusal.value.facts["versions"] == [2, 3]
    assert go_back(scene, model, alias="staging", to=2, override=True) == 2


def test_rollback_to_what_the_live_version_does_not_descend_from_is_free(
    scene: Scene, model: Model
) -> None:
    update(scene, model, *CATS, auto_promote=False)
    update(scene, model, *OWLS, parent=1, auto_promote=False)
    for number in (2, 3):
        go_live(scene, model, number, override=True, reason="both are wanted")
    assert go_back(scene, model, to=2) == 2
