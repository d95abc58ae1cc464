from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from core.database.work import Transactions
from core.errors import AliasNotFound, StaleRevision
from core.jobs.rows import Jobs
from core.registry.alias_rows import Aliases
from core.registry.aliases import Alias, MoveKind
from core.registry.version_rows import Versions
from core.registry.versions import Model
from tests.support.factories import NOW, a_job, a_move, a_version

MOVERS, MOVES = 20, 4


@pytest.fixture
def alias(transactions: Transactions, model: Model) -> Alias:
    """`production` of a model with three versions, at the first."""
    created = Alias(model=model.id, name="production", version=1, revision=1, updated_at=NOW)
    job = a_job(model)
    with transactions() as work:
        work[Jobs].add(job)
        for number in (1, 2, 3):
            work[Versions].add(a_version(job, number))
        work[Aliases].move(created, a_move(created, kind=MoveKind.CREATED))
        work.commit()
    return created


def test_alias_moves_with_its_history(transactions: Transactions, alias: Alias) -> None:
    moved = replace(alias, version=2, revision=2, updated_at=NOW + timedelta(hours=1))
    with transactions() as work:
        work[Aliases].move(moved, a_move(moved, from_version=1, reason="better"))
        work.commit()
    with transactions(read_only=True) as work:
        assert work[Aliases].get(alias.model, "production") == moved
        assert work[Aliases].find(alias.model, "staging") is None
        assert work[Aliases].all() == work[Aliases].all(alias.model) == [moved]
        assert len(work[Aliases].history(alias.model, "production", after=1)) == 1
        newest = work[Aliases].newest_moves(alias.model, "production", 1)
        assert [move.revision for move in newest] == [2]
        assert work[Aliases].kinds_of_moves(alias.model, "production", 2) == {MoveKind.PROMOTED}
        assert work[Aliases].kinds_of_moves(alias.model, "production", 1) == set()
        assert work[Aliases].history(alias.model, "production") == [
            a_move(alias, kind=MoveKind.CREATED),
            a_move(moved, from_version=1, reason="better"),
        ]
        with pytest.raises(AliasNotFound):
            work[Aliases].get(alias.model, "staging")


@pytest.mark.parametrize("revision", [1, 3])
def test_move_from_another_revision_is_stale(
    transactions: Transactions, alias: Alias, revision: int
) -> None:
    stale = replace(alias, version=2, revision=revision)
    with transactions() as work:
        with pytest.raises(StaleRevision):
            work[Aliases].move(stale, a_move(stale))
        work.commit()
    with transactions() as work:
        assert work[Aliases].get(alias.model, alias.name) == alias
        assert len(work[Aliases].history(alias.model, alias.name)) == 1


def test_wins_equal_final_revision_and_history_rows(
    transactions: Transactions, alias: Alias
) -> None:
    def move_often(mover: int) -> int:
        wins = 0
        for turn in range(MOVES):
            with transactions(read_only=True) as work:
                seen = work[Aliases].get(alias.model, alias.name)
            moved = replace(seen, version=1 + (mover + turn) % 3, revision=seen.revision + 1)
            try:
                with transactions() as work:
                    work[Aliases].move(moved, a_move(moved, actor=str(mover)))
                    work.commit()
                wins += 1
            except StaleRevision:
                continue
        return wins

    with ThreadPoolExecutor(MOVERS) as pool:
        wins = sum(pool.map(move_often, range(MOVERS)))
    with transactions() as work:
        final = work[Aliases].get(alias.model, alias.name)
        history = work[Aliases].history(alias.model, alias.name)
    assert 1 + wins == final.revision == len(history)
    assert [row.revision for row in history] == list(range(1, final.revision + 1))
    assert history[-1].to_version == final.version
    assert wins >= MOVES


def test_two_creators_make_one_alias(transactions: Transactions, alias: Alias) -> None:
    def create(version: int) -> bool:
        made = replace(alias, name="staging", version=version)
        try:
            with transactions() as work:
                work[Aliases].move(made, a_move(made, kind=MoveKind.CREATED))
                work.commit()
        except StaleRevision:
            return False
        return True

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(create, (1, 2, 3))) == [False, False, True]
