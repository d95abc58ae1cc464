"""Moves of an alias: what they write, how they are refused, and which locks they wait for."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from core.database.engine import Limits
from core.database.work import Transactions
from core.errors import ArtifactGone, FieldInvalid, GateFailed, NameInvalid, StaleRevision
from core.gate.rules import Verdict
from core.registry.alias_rows import Aliases
from core.registry.aliases import AliasMove, MoveKind
from core.registry.version_rows import Versions
from core.registry.versions import Model, Weights
from core.values import Digest
from tests.support.api.seeds import a_candidate, a_verdict
from tests.support.evaluation.judged import go_back, go_live
from tests.support.factories import NOW, TESTER
from tests.support.memory_artifacts import MemoryArtifacts
from tests.support.scene import Scene
from tests.support.storage.databases import commit_beside

Move = Callable[[Scene, Model], object]


@pytest.fixture
def model(scene: Scene) -> Model:
    """A model whose versions 2 and 3 passed, and 2 is live."""
    made = scene.model()
    for parent in (1, 2):
        a_candidate(scene.platform, made, verdict=Verdict.PASSED, parent=parent)
    go_live(scene, made, 2)
    return made


def history(scene: Scene, model: Model) -> list[AliasMove]:
    with scene.platform.transactions(read_only=True) as work:
        return list(work[Aliases].history(model.id, "production"))


# ---- What is written down -------------------------------------------------------------------


def test_promotion_and_rollback_are_written_down(scene: Scene, model: Model) -> None:
    later = NOW.replace(year=2027)
    scene.platform = replace(scene.platform, clock=lambda: later)
    alias = go_live(scene, model, 3, reason="better", expected_revision=2)
    assert (alias.version, alias.revision, alias.updated_at) == (3, 3, later)
    assert go_back(scene, model, reason="worse", expected_revision=3) == 2
    promotion = AliasMove(
        model=model.id,
        alias="production",
        revision=3,
        kind=MoveKind.PROMOTED,
        from_version=2,
        to_version=3,
        reason="better",
        actor=TESTER.name,
        at=later,
        verdict=Verdict.PASSED,
        policy=model.policy,
    )
    back = {"revision": 4, "kind": MoveKind.ROLLED_BACK, "from_version": 3, "to_version": 2}
    back |= {"verdict": None, "policy": None}
    rollback = replace(promotion, reason="worse", **back)
    assert history(scene, model)[-2:] == [promotion, rollback]


# ---- What is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("move", "message", "pointer"),
    [
        (
            lambda scene, model: go_live(scene, model, 3, override=True),
            "An override requires a reason.",
            "/reason",
        ),
        (
            lambda scene, model: go_back(scene, model, reason=""),
            "A rollback requires a reason.",
            "/reason",
        ),
        (
            lambda scene, model: go_back(scene, model, to=3),
            "Version 3 was never live as 'production': promote it instead.",
            "/to",
        ),
    ],
)
def test_request_that_cannot_be_says_why(
    scene: Scene, model: Model, move: Move, message: str, pointer: str
) -> None:
    with pytest.raises(FieldInvalid) as told:
        move(scene, model)
    assert (told.value.message, told.value.pointer, told.value.facts) == (message, pointer, {})


def test_new_alias_has_a_name_that_may_stand_in_a_url(scene: Scene, model: Model) -> None:
    with pytest.raises(NameInvalid):
        go_live(scene, model, 3, alias="No Name")


@pytest.mark.parametrize(
    "move", [lambda scene, model, **how: go_live(scene, model, 3, **how), go_back]
)
def test_move_that_was_decided_on_another_revision_is_refused(
    scene: Scene, model: Model, move: Callable[..., object]
) -> None:
    with pytest.raises(StaleRevision) as told:
        move(scene, model, expected_revision=1)
    assert told.value.facts == {"expected": 1, "revision": 2}
    assert scene.live(model) == 2


def test_rollback_goes_nowhere_when_the_alias_moves_after_it_was_looked_at(
    scene: Scene, model: Model, artifacts: MemoryArtifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    has, root = artifacts.has, scene.version(model, 1).digest

    def move_meanwhile(digest: Digest) -> bool:
        if digest == root:
            go_live(scene, model, 3)
        return has(digest)

    monkeypatch.setattr(artifacts, "has", move_meanwhile)
    with pytest.raises(StaleRevision):
        go_back(scene, model)
    assert scene.live(model) == 3


@pytest.mark.parametrize(
    "move",
    [lambda scene, model: go_live(scene, model, 1), go_back],
)
def test_weights_that_are_gone_are_named(
    scene: Scene, model: Model, artifacts: MemoryArtifacts, move: Move
) -> None:
    root = scene.version(model, 1)
    (tensor, _) = Weights.from_bytes(artifacts.get(root.digest)).tensors
    artifacts.delete(tensor.digest)
    with pytest.raises(ArtifactGone) as told:
        move(scene, model)
    assert told.value.facts == {"version": 1, "tensor": tensor.name}
    artifacts.delete(root.digest)
    with pytest.raises(ArtifactGone) as told:
        move(scene, model)
    assert told.value.facts == {"version": 1}
    assert scene.live(model) == 2


# ---- Beside others --------------------------------------------------------------------------


@pytest.fixture
def hasty(url: str) -> Iterator[Transactions]:
    """Transactions that wait for next to nothing."""
    transactions = Transactions(url, limits=Limits(lock_s=0.2))
    yield transactions
    transactions.close()


def test_refusal_waits_for_no_writer(
    scene: Scene, model: Model, artifacts: MemoryArtifacts, hasty: Transactions
) -> None:
    artifacts.delete(scene.version(model, 3).digest)
    with scene.platform.transactions() as work:
        work[Versions].save(work[Versions].get(model.id, 3))
        scene.platform = replace(scene.platform, transactions=hasty)
        with pytest.raises(ArtifactGone):
            go_live(scene, model, 3)
        with pytest.raises(FieldInvalid):
            go_back(scene, model, to=3)


@pytest.mark.parametrize(
    ("live", "to", "move"), [(2, 3, lambda scene, model: go_live(scene, model, 3)), (3, 2, go_back)]
)
def test_version_that_fails_while_an_alias_moves_to_it_stays_out(
    scene: Scene, model: Model, live: int, to: int, move: Move
) -> None:
    go_live(scene, model, live)
    with scene.platform.transactions() as work:
        version = work[Versions].get(model.id, to, lock=True)
        a_verdict(scene.platform, work, version, Verdict.FAILED)
        moved = commit_beside(work, move, scene, model)
    with pytest.raises(GateFailed):
        moved.result()
    assert scene.version(model, to).verdict is Verdict.FAILED
    assert scene.live(model) == live
