"""Moves of an alias, and the version that its history leads back to."""

from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest

from core.errors import NoPrevious, StaleRevision
from core.registry.aliases import (
    Alias,
    AliasMove,
    MoveKind,
    by_override,
    delete,
    live_stack,
    live_stack_end,
    move,
    require_revision,
    rollback_target,
    rollback_target_from_newest,
    was_live,
)
from core.registry.inheritance import answered_for, replaced_by
from core.registry.versions import Descent
from core.values import ModelId
from tests.support.factories import NOW, a_job, a_model, a_policy, a_version

MODEL = ModelId("model_1")

LATER = NOW + timedelta(hours=1)

ALIAS = Alias(model=MODEL, name="staging", version=2, revision=4, updated_at=NOW)

SEVEN = a_version(a_job(a_model(a_policy())), 7)


def moved(alias: Alias | None) -> tuple[Alias, AliasMove]:
    return move(
        alias,
        name="staging",
        to=SEVEN,
        kind=MoveKind.ROLLED_BACK,
        reason="worse",
        actor="someone",
        now=LATER,
    )


def history(*moves: str) -> list[AliasMove]:
    """Moves like "2", a promotion, "2!", one by override alone, "<2", a rollback, "x", the end."""
    kinds = {"<": MoveKind.ROLLED_BACK, "x": MoveKind.DELETED}
    return [
        AliasMove(
            model=MODEL,
            alias="staging",
            revision=revision,
            kind=kinds.get(text[0], MoveKind.PROMOTED),
            from_version=None,
            to_version=None if text == "x" else int(text.strip("<!")),
            reason="",
            actor="tests",
            at=NOW,
            override=text.endswith("!"),
        )
        for revision, text in enumerate(moves, 1)
    ]


# ---- Moves ----------------------------------------------------------------------------------


def test_move_is_the_next_revision_and_tells_where_it_came_from() -> None:
    assert moved(ALIAS) == (
        Alias(model=SEVEN.model, name="staging", version=7, revision=5, updated_at=LATER),
        AliasMove(
            model=SEVEN.model,
            alias="staging",
            revision=5,
            kind=MoveKind.ROLLED_BACK,
            from_version=2,
            to_version=7,
            reason="worse",
            actor="someone",
            at=LATER,
        ),
    )


def test_first_move_creates_the_alias() -> None:
    alias, row = moved(None)
    assert (alias.version, alias.revision, row.revision) == (7, 1, 1)
    assert (row.kind, row.from_version) == (MoveKind.CREATED, None)


@pytest.mark.parametrize(
    ("alias", "expected", "revision"), [(ALIAS, 3, 4), (ALIAS, 5, 4), (ALIAS, 0, 4), (None, 1, 0)]
)
def test_move_that_was_decided_on_another_revision_is_stale(
    alias: Alias | None, expected: int, revision: int
) -> None:
    with pytest.raises(StaleRevision) as told:
        require_revision(alias, expected)
    assert told.value.facts == {"expected": expected, "revision": revision}


@pytest.mark.parametrize(
    ("alias", "expected"), [(ALIAS, 4), (ALIAS, None), (None, 0), (None, None)]
)
def test_present_revision_is_not_stale(alias: Alias | None, expected: int | None) -> None:
    require_revision(alias, expected)


# ---- The way back ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moves", "live"),
    [
        ("", []),
        ("1", [1]),
        ("1 2 3", [1, 2, 3]),
        ("1 2 3 2", [1, 2, 3, 2]),  # a promotion never pops
        ("1 2 3 <2", [1, 2]),
        ("1 2 3 <2 <1", [1]),  # twice back does not toggle
        ("1 2 3 4 <2", [1, 2]),
        ("1 2 3 <1 4", [1, 4]),
        ("1 2 3 <1 <3", [1, 3]),  # back to what an earlier rollback gave up
        ("1 2 3 2 <2", [1, 2, 3, 2]),
        ("1 2 3 <2 <1 <2", [1, 2]),
        ("1 2 x", []),
        ("1 2 x 3 4", [3, 4]),  # an alias of the same name starts anew
    ],
)
def test_promotions_push_and_rollbacks_pop(moves: str, live: list[int]) -> None:
    rows = history(*moves.split())
    assert live_stack(rows) == live_stack(rows[::-1]) == live
    came_from = [None, *(row.to_version for row in rows)]
    rows = [replace(row, from_version=at) for row, at in zip(rows, came_from, strict=False)]
    for newest in range(1, len(rows) + 1):
        end = live_stack_end(rows[-newest:])
        assert live[len(live) - len(end) :] == end


@pytest.mark.parametrize(
    ("moves", "answered"),
    [
        ("1 2 3", {1, 2, 3}),  # version 3 is of the root as version 2
        ("1 2 3 <2", {1, 2}),
        ("1 2 3 <1", {1}),
        ("1 2 3 <1 3", {1, 2, 3}),
        ("1 2 3 <1 <3", {1, 2, 3}),
        ("1 2 3 <1 4", {1, 2, 3, 4}),  # a child of version 3
        ("1 2 3 <1 5", {1, 2, 3, 5}),  # was trained in its place
        ("1 2 3 <1 6", {1, 6}),  # a child of the root gives both up
        ("1 2 3!", {1, 2, 3}),
        ("1 2 3! <1 3", {1, 3}),  # the override's reason said what was given up
        ("1 2 3 x 1 3", {1, 3}),
    ],
)
def test_what_is_live_answers_for_all_that_its_line_ever_replaced(
    moves: str, answered: set[int]
) -> None:
    rows = history(*moves.split())
    came_from = [None, *(row.to_version for row in rows)]
    rows = [replace(row, from_version=at) for row, at in zip(rows, came_from, strict=False)]
    parents = {1: None, 2: 1, 3: 1, 4: 3, 5: 1, 6: 1}
    descents = {
        number: Descent(parent=parent, replaces=3 if number == 5 else None)
        for number, parent in parents.items()
    }
    assert answered_for(live_stack(rows), replaced_by(rows), descents) == answered


def test_the_newest_moves_tell_where_a_rollback_goes_or_that_they_do_not() -> None:
    draw, told = Random(1), 0
    for _ in range(400):
        texts = [
            draw.choice(("", "<")) + str(draw.randint(1, 4)) + draw.choice(("", "", "!"))
            for _ in range(draw.randint(1, 9))
        ]
        rows = history(*("x" if draw.random() < 0.05 else text for text in texts[:-1]), texts[-1])
        came_from = [None, *(row.to_version for row in rows)]
        rows = [replace(row, from_version=at) for row, at in zip(rows, came_from, strict=False)]
        unfit = {"failed": {draw.randint(1, 4)}, "deleted": {draw.randint(1, 6)}}
        for newest in range(1, len(rows) + 1):
            found = rollback_target_from_newest(rows[-newest:], **unfit)
            told += found is not None
            assert found is None or found == rollback_target(rows, **unfit)
    assert told > 100
    assert rollback_target_from_newest(history("1", "2", "3")[-2:]) == 2
    assert rollback_target_from_newest(history("1", "2!", "3")[-2:]) is None


@pytest.mark.parametrize(
    ("moves", "failed", "before"),
    [
        ("1 2", set(), 1),
        ("1 2 3", set(), 2),
        ("1 2 3 <2", set(), 1),
        ("1 2 3 4", {3}, 2),
        ("1 2 3 4", {2, 3}, 1),
        ("1 2 3 4", {4}, 3),  # what is live is left anyway
        ("1 2 3! 4", set(), 2),
        ("1 2! 3! 4", set(), 1),
        ("1 2! 3 2 4", set(), 2),  # let through the second time
        ("1 2 3 2! 4", set(), 2),  # let through the first time
        ("1 2! 3 4", {3}, 1),
        ("1 2 3 2", {3}, 1),  # never to what is live
        ("1 2 3! 2", set(), 1),
    ],
)
def test_rollback_passes_over_what_failed_or_went_live_by_override_alone(
    moves: str, failed: set[int], before: int
) -> None:
    assert rollback_target(history(*moves.split()), failed=failed) == before


def test_versions_by_override_alone_are_those_that_never_came_otherwise() -> None:
    assert by_override(history("1", "2!", "3!", "2", "4!", "<3")) == {4}


def test_rollback_passes_over_deleted_versions_and_does_not_offer_them() -> None:
    assert rollback_target(history("1", "2", "3"), deleted=[2]) == 1
    assert rollback_target(history("1", "2", "3", "2"), deleted=[3]) == 1
    with pytest.raises(NoPrevious) as told:
        rollback_target(history("1", "2!", "3", "4"), failed=[1], deleted=[3])
    assert told.value.facts == {"versions": [1, 2]}
    with pytest.raises(NoPrevious, match="has never pointed"):
        rollback_target(history("1", "2"), deleted=[1])


def test_what_a_deleted_alias_of_the_same_name_did_does_not_count() -> None:
    rows = history("1", "2!", "x", "3")
    assert not was_live(rows, 1)
    assert was_live(rows, 3)
    assert by_override(rows) == set()


def test_an_alias_made_again_goes_on_counting() -> None:
    row = delete(ALIAS, reason="unused", actor="someone", now=LATER)
    assert (row.kind, row.revision) == (MoveKind.DELETED, 5)
    assert (row.from_version, row.to_version) == (2, None)
    again, created = move(
        None,
        name="staging",
        to=SEVEN,
        kind=MoveKind.PROMOTED,
        reason="",
        actor="someone",
        now=LATER,
        last_revision=row.revision,
    )
    assert (again.revision, created.revision, created.kind) == (6, 6, MoveKind.CREATED)


def test_rollback_that_could_only_go_to_what_was_passed_over_names_it() -> None:
    with pytest.raises(NoPrevious) as told:
        rollback_target(history("1", "2!", "3"), failed=[1])
    assert told.value.message == (
        "All versions that were live before have failed beside their parent or went live by "
        "override: name the version to roll back to with 'to' (version 1, version 2), and override "
        "the gate."
    )
    assert told.value.facts == {"versions": [1, 2]}


@pytest.mark.parametrize("moves", ["", "1", "1 1", "1 2 <1"])
def test_rollback_from_the_first_version_has_nowhere_to_go(moves: str) -> None:
    with pytest.raises(NoPrevious) as told:
        rollback_target(history(*moves.split()))
    assert told.value.message == "This alias has never pointed to another version."
    assert told.value.facts == {}


def test_version_was_live_if_any_move_went_to_it() -> None:
    rows = history("1", "3", "<1")
    assert [was_live(rows, number) for number in (1, 2, 3)] == [True, False, True]
    assert not was_live([], 1)
