"""Indexes in a real PostgreSQL with pgvector that follow an alias."""

import itertools
import threading
from functools import partial
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from core.gate.rules import Verdict
from core.registry.alias_rows import Aliases
from core.registry.promote import ON_POSTPONED
from core.registry.version_rows import Versions
from core.values import canonical_json
from core.vectors.rows import IndexReports
from core.vectors.rules import IndexReport
from perennial.errors import ServiceError
from perennial.indexes.search import search
from perennial.indexes.store import IndexFailure, Live, Pace
from tests.support.factories import NOW, a_job
from tests.support.learning.tiny_tools import vector
from tests.unit.client.commands.conftest import Shop


def states(shop: Shop) -> dict[int, str]:
    found = shop.client.indexes.get(shop.name, shop.name)
    return {one["version"]: one["state"] for one in found["versions"]}


def test_an_alias_with_an_index_moves_once_the_vectors_are_complete(shop: Shop) -> None:
    with shop.keeper() as keeper:
        keeper.sync()
    shop.require_true(1)
    version = shop.child()
    with pytest.raises(ServiceError, match="index_not_ready") as refused:
        shop.client.aliases.promote(shop.name, version)
    assert f"perennial index move {shop.name} {shop.name}:{version}" in refused.value.detail
    with shop.keeper() as keeper:
        keeper.fill(version)
        shop.require_true(1)  # searches stay where they are
        shop.client.aliases.promote(shop.name, version)
        shop.require_true(1)  # until the store follows
        keeper.sync()
    shop.require_true(version)
    assert states(shop) == {1: "retired", version: "live"}


def test_an_override_moves_the_alias_at_once_and_searches_stay_until_vectors_are_there(
    shop: Shop,
) -> None:
    with shop.keeper() as keeper:
        keeper.sync()
        version = shop.child()
        shop.client.aliases.promote(shop.name, version, reason="urgent", override=True)
        shop.require_true(1)
        keeper.sync()
    shop.require_true(version)
    assert states(shop) == {1: "retired", version: "live"}


def test_a_rollback_needs_no_vectors_to_be_made_again(shop: Shop) -> None:
    version = shop.child()
    with shop.keeper() as keeper:
        keeper.sync()
        keeper.move(version)
        shop.require_true(version)
        before = len(shop.site.learner.embedder.embedded)
        shop.client.aliases.roll_back(shop.name, reason="worse")
        keeper.sync()
    shop.require_true(1)
    assert len(shop.site.learner.embedder.embedded) == before
    assert states(shop) == {1: "live", version: "retired"}


class Killed(BaseException):
    """The process is gone."""


WRITES = {"claim", "create", "write", "finish", "mark", "switch", "drop", "record", "promote"}


class Deadly:
    """Passes calls on until its time has come: then before a call, or after it, all is over."""

    def __init__(self, clock: list[int], wrapped: Any) -> None:
        self._wrapped = wrapped
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._wrapped, name)
        if name in {"indexes", "aliases", "versions", "vectors"}:
            return Deadly(self._clock, found)
        if name not in WRITES:
            return found

        def counted(*given: Any, **named: Any) -> Any:
            self._count()
            result = found(*given, **named)
            self._count()
            return result

        return counted

    def _count(self) -> None:
        self._clock[0] -= 1
        if self._clock[0] == 0:
            raise Killed


def test_whichever_step_a_kill_comes_at_the_next_call_finishes(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each of them the view has one version, whole, and the alias no other than a whole one."""
    monkeypatch.setattr("perennial.indexes.sources.AT_ONCE", 2)
    monkeypatch.setattr("perennial.indexes.keep.AT_ONCE", 2)
    with shop.keeper() as keeper:
        keeper.sync()
    version, kills = shop.child(), 0
    for moment in itertools.count(1):
        clock = [moment]
        try:
            with shop.keeper(partial(Deadly, clock)) as keeper:
                keeper.move(version)
        except Killed:
            kills += 1
        shown, digest, vectors = shop.seen()
        assert digest == shop.digest(shown)
        assert vectors.keys() == shop.expected(shown).keys()
        live = shop.client.aliases.get(shop.name)["version"]
        assert states(shop)[live] == "live"
        if clock[0] > 0:
            break
    shop.require_true(version)
    assert kills > 10


def test_a_search_while_the_index_moves_always_answers_by_one_version(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text's vector is that of the first image by the version asked: its cosine is 1."""
    first = min(shop.expected(1))
    monkeypatch.setattr(shop.site.oracle, "vectors", lambda digest, _: vector(digest, first))
    with shop.keeper() as keeper:
        keeper.sync()
    done, found, failed = threading.Event(), list[tuple[int, str, float]](), list[Exception]()

    def ask() -> None:
        with shop.store() as store:
            while not done.is_set():
                try:
                    answer = search(shop.client, store, shop.name, text="any", limit=3)
                except Exception as error:  # noqa: BLE001
                    failed.append(error)
                    return
                found.append((answer.live.version, answer.hits[0].id, answer.hits[0].score))

    searcher = threading.Thread(target=ask)
    searcher.start()
    try:
        versions = [1]
        for _ in range(3):
            versions.append(shop.child())
            with shop.keeper() as keeper:
                keeper.move(versions[-1])
        shop.client.aliases.roll_back(shop.name, reason="worse")
        with shop.keeper() as keeper:
            keeper.sync()
    finally:
        done.set()
        searcher.join()
    assert not failed
    assert {version for version, _, _ in found} <= set(versions)
    assert {name for _, name, _ in found} == {first}
    assert min(score for _, _, score in found) > 0.9999


def test_a_search_that_is_overtaken_by_a_move_begins_again(shop: Shop) -> None:
    version = shop.child()
    with shop.keeper() as keeper, shop.store() as store:
        keeper.sync()
        before = store.live()
        keeper.move(version)
        query = np.ones(4, np.float32)
        assert before is not None
        assert store.search(before, query, 3) is None
        after = store.live()
        assert after == Live(version=version, digest=shop.digest(version), side=version)
        assert after is not None
        assert len(store.search(after, query, 3) or ()) == 3


def postpone(shop: Shop, version: int) -> None:
    """Have a version wait for its vectors that has passed and would go live by itself."""
    with shop.site.platform.transactions() as work:
        found = work[Versions].get(shop.model.id, version)
        ON_POSTPONED(work, found, work[Aliases].get(shop.model.id, "production"))
        work.commit()
    assert states(shop)[version] == "wanted"


def test_an_update_that_passed_goes_live_by_itself_once_its_vectors_are_complete(
    shop: Shop,
) -> None:
    with shop.keeper() as keeper:
        keeper.sync()
    promotion = shop.teach()
    version = max(states(shop))
    assert promotion == {"alias": "production", "moved": False, "reason": "index_not_ready"}
    assert states(shop) == {1: "live", version: "wanted"}
    shop.require_true(1)
    with shop.keeper() as keeper:
        keeper.sync()
    shop.require_true(version)
    assert states(shop) == {1: "retired", version: "live"}
    shop.client.aliases.roll_back(shop.name, reason="worse")
    with shop.keeper() as keeper:
        keeper.sync()
    shop.require_true(1)  # and stays so, though it was wanted once


def test_what_became_inconclusive_while_it_waited_for_its_vectors_does_not_go_live(
    shop: Shop,
) -> None:
    waits = shop.child(Verdict.INCONCLUSIVE)
    postpone(shop, waits)
    with shop.keeper() as keeper:
        keeper.sync()
    shop.require_true(1)
    assert (states(shop)[1], shop.client.aliases.get(shop.name)["version"]) == ("live", 1)
    with shop.keeper() as keeper:
        keeper.move(waits, reason="looked at")
    shop.require_true(waits)


def test_what_a_person_has_rolled_back_while_it_waited_does_not_come_back(shop: Shop) -> None:
    with shop.keeper() as keeper:
        keeper.sync()
        version = shop.child()
        postpone(shop, version)
        shop.client.aliases.promote(shop.name, version, reason="urgent", override=True)
        shop.client.aliases.roll_back(shop.name, reason="worse")
        for _ in range(2):
            keeper.sync()
            assert states(shop) == {1: "live"}  # nothing of it is kept or made
    shop.require_true(1)


def test_images_that_come_and_go_are_added_and_removed(shop: Shop) -> None:
    shared = shop.expected(1).keys()  # with the other tests
    shop.upload(200)
    (gone,) = shop.expected(1).keys() - shared
    with shop.keeper() as keeper:
        keeper.sync()
        keeper.move(shop.child())
    erasure = shop.client.erasures.order([gone], reason="a wish", retrain="none")
    shop.client.jobs.wait(erasure["job"], every=0.05)
    shop.upload(100, 101)
    with shop.keeper() as keeper:
        keeper.sync()
    shop.require_true(2)
    assert len(shop.expected(2)) == 8
    retired = {name for (name,) in shop.sql(f'SELECT id FROM "{shop.name}_v1"')}
    assert retired == shared, "an erased image is gone from there too"


def test_sides_that_nobody_goes_back_to_are_deleted_and_others_kept(shop: Shop) -> None:
    with shop.keeper() as keeper:
        keeper.sync()
        for _ in range(3):
            keeper.move(shop.child())
        keeper.sync(retired=1)
    assert states(shop) == {3: "retired", 4: "live"}
    tables = shop.sql(f"SELECT relname FROM pg_class WHERE relname ~ '^{shop.name}_v[0-9]+$'")
    assert {name for (name,) in tables} == {f"{shop.name}_v3", f"{shop.name}_v4"}
    with pytest.raises(ServiceError, match="in_use"):
        shop.client.indexes.clear(shop.name, shop.name, 4)


def test_the_store_of_another_index_and_tables_of_others_stay_as_they_are(shop: Shop) -> None:
    shop.sql_do(f'CREATE TABLE "{shop.name}_v1" (id text)')
    with shop.keeper() as keeper, pytest.raises(IndexFailure, match="already exists"):
        keeper.sync()
    shop.sql_do(f'DROP TABLE "{shop.name}_v1"')
    with shop.keeper() as keeper:
        keeper.sync()
    shop.sql_do(f"UPDATE \"{shop.name}_index\" SET index = 'idx_other'")
    with shop.keeper() as keeper, pytest.raises(IndexFailure, match="belongs to another index"):
        keeper.sync()
    shop.require_true(1)


def test_two_fillers_take_turns(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perennial.indexes.pgvector.FILLER_WAIT", "50ms")
    with shop.store() as one, shop.store() as other:
        one.claim("idx_1")
        with pytest.raises(IndexFailure, match="Another process"):
            other.claim("idx_1")
        one.release()
        other.claim("idx_1")


def test_a_pace_lets_so_many_pass_a_second() -> None:
    now, slept = [0.0], list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    pace = Pace(100, now=lambda: now[0], sleep=sleep)
    for _ in range(4):
        pace.wait(50)
    assert (sum(slept), now[0]) == pytest.approx((1.5, 1.5))  # the first 50 at once
    now[0] += 10  # time that was not used is not saved up
    pace.wait(50)
    pace.wait(50)
    assert sum(slept) == pytest.approx(2.0)


# Compatibility: vectors that are held or bridged.


def a_report(shop: Shop, version: int, baseline: int, raw: float, bridged: float) -> None:
    """Store a report on an index of the baseline's vectors, with a bridge that turns them round."""
    bridge = save({"weight": -np.eye(4, dtype="f4"), "bias": np.zeros(4, "f4")})
    losses = {
        name: {"value": upper / 2, "lower": 0.0, "upper": upper}
        for name, upper in (("raw_loss", raw), ("bridged_loss", bridged))
    }
    search = {"suite": "pets", "search": "text_to_image", "queries": 200, "judged": True}
    put = shop.site.platform.artifacts.put
    artifact = put(bridge)
    body = {
        "model": shop.name,
        "version": version,
        "digest": shop.digest(version),
        "from": baseline,
        "from_digest": shop.digest(baseline),
        "verdict": "bridge",
        "reason": "a test",
        **{"depth": 10, "tolerance": 0.02, "least_queries": 100, "vectors": [], "maps": []},
        "bridge": {
            "artifact": artifact,
            "size": len(bridge),
            "kind": "orthogonal",
            "images": 40,
            "scores": {"orthogonal": 1.0},
        },
        "searches": [{**search, "raw": 0.9, "bridged": 0.9, "reembedded": 0.9, **losses}],
    }
    with shop.site.platform.transactions() as work:
        work[IndexReports].put(
            IndexReport(
                model=shop.model.id,
                version=version,
                baseline=baseline,
                report=put(canonical_json(body)),
                bridge=artifact,
                sources=(),
                job=a_job(shop.model).id,
                created_at=NOW,
            )
        )
        work.commit()


def methods(shop: Shop) -> dict[int, tuple[str, int | None, float | None]]:
    found = shop.client.indexes.get(shop.name, shop.name)
    return {
        one["version"]: (one["method"], one["baseline"], one["loss"]) for one in found["versions"]
    }


def test_vectors_that_hold_are_kept_and_serve_the_new_version(shop: Shop) -> None:
    with shop.keeper() as keeper:
        keeper.sync()
    version = shop.child()
    a_report(shop, version, 1, raw=0.015, bridged=0.01)
    embedded = len(shop.site.learner.embedder.embedded)
    with shop.keeper() as keeper:
        keeper.move(version)
        keeper.sync()
    assert len(shop.site.learner.embedder.embedded) == embedded
    found, digest, vectors = shop.seen()
    assert (found, digest) == (version, shop.digest(version))
    for name, one in shop.expected(1).items():
        np.testing.assert_allclose(vectors[name], one, rtol=1e-6)
    assert methods(shop)[version] == ("held", 1, 0.015)
    shop.upload(50)  # by the version whose vectors they are
    with shop.keeper() as keeper:
        keeper.sync()
    assert shop.seen()[2].keys() == shop.expected(1).keys()


def test_vectors_are_mapped_by_a_bridge_that_loses_little_enough(shop: Shop) -> None:
    with shop.keeper() as keeper:
        keeper.sync()
    version = shop.child()
    a_report(shop, version, 1, raw=0.05, bridged=0.015)
    embedded = len(shop.site.learner.embedder.embedded)
    with shop.keeper() as keeper:
        keeper.move(version)
    assert len(shop.site.learner.embedder.embedded) == embedded
    assert methods(shop)[version] == ("bridged", 1, 0.015)
    _, _, vectors = shop.seen()
    for name, one in shop.expected(1).items():
        np.testing.assert_allclose(vectors[name], -one / np.linalg.norm(one), rtol=1e-5)


def test_vectors_left_by_a_kill_are_not_taken_for_those_made_in_another_way(shop: Shop) -> None:
    with shop.keeper() as keeper:
        keeper.sync()
        version = shop.child()
        a_report(shop, version, 1, raw=0.05, bridged=0.015)
        keeper.fill(version)
        assert methods(shop)[version][0] == "bridged"
        shop.client.indexes.clear(shop.name, shop.name, version)  # and then a kill
        keeper.move(version, method="embedded")
    shop.require_true(version)


def test_the_service_refuses_vectors_that_may_lose_more_than_the_index_allows(shop: Shop) -> None:
    with shop.keeper() as keeper:
        keeper.sync()
    version = shop.child()
    a_report(shop, version, 1, raw=0.05, bridged=0.03)
    for method in ("held", "bridged"):
        with shop.keeper() as keeper, pytest.raises(ServiceError, match="index_not_ready"):
            keeper.move(version, method=method)
    assert states(shop) == {1: "live"}
    with shop.keeper() as keeper:
        keeper.move(version)
    shop.require_true(version)
    assert methods(shop)[version] == ("embedded", None, None)
