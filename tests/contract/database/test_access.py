"""Idempotency-Keys, cached answers and workers' beats."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from core.errors import InProgress
from core.ports import IdempotentReply, Transactions
from core.values import JobId
from tests.support.factories import NOW, digest

REPLY = IdempotentReply(
    actor="admin", key="abc", body=digest("body"), job=JobId("job_1"), created_at=NOW
)


def test_reply_is_found_under_its_actor_and_key(transactions: Transactions) -> None:
    with transactions() as work:
        work.idempotency.add(REPLY)
        work.idempotency.add(replace(REPLY, actor="other"))
        assert work.idempotency.find("admin", "abc") == REPLY
        assert work.idempotency.find("admin", "xyz") is None
        with pytest.raises(InProgress):
            work.idempotency.add(replace(REPLY, job=JobId("job_2")))


def test_one_of_many_requests_at_once_gets_the_key(transactions: Transactions) -> None:
    def ask(number: int) -> bool:
        try:
            with transactions() as work:
                work.idempotency.add(replace(REPLY, job=JobId(f"job_{number}")))
                time.sleep(0.05)  # the others come while this one is in flight
                work.commit()
        except InProgress:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(ask, range(6))) == 1


def test_key_of_a_rolled_back_request_is_free_again(transactions: Transactions) -> None:
    with transactions() as work:
        work.idempotency.add(REPLY)
    with transactions() as work:
        work.idempotency.add(REPLY)


def test_old_keys_are_forgotten(transactions: Transactions) -> None:
    with transactions() as work:
        work.idempotency.add(REPLY)
        assert work.idempotency.forget(NOW) == 0
        assert work.idempotency.forget(NOW + timedelta(seconds=1)) == 1
        assert work.idempotency.find("admin", "abc") is None


def test_answers_are_remembered_by_version_and_question(transactions: Transactions) -> None:
    with transactions() as work:
        work.answers.add(digest("v1"), digest("q1"), digest("a1"))
        work.answers.add(digest("v1"), digest("q1"), digest("a2"))
        work.answers.add(digest("v2"), digest("q1"), digest("a3"))
        kept = work.answers.stored([digest("v1")], [digest("q1"), digest("q2")])
        assert kept == {(digest("v1"), digest("q1")): digest("a2")}
        assert work.answers.judged(digest("q1")) == 2
        assert work.answers.judged(digest("q2")) == 0


def test_beat_is_fresh_for_a_while(transactions: Transactions) -> None:
    with transactions() as work:
        work.heartbeats.record("w1", {"device": "cpu"})
        work.heartbeats.record("w1", {"device": "cuda"})
        work.commit()
    time.sleep(0.3)
    with transactions() as work:
        work.heartbeats.record("w2", {})
        assert work.heartbeats.fresh(60) == [("w1", {"device": "cuda"}), ("w2", {})]
        assert work.heartbeats.fresh(0.2) == [("w2", {})]
        work.heartbeats.forget("w2")
        assert work.heartbeats.fresh(0.2) == []
