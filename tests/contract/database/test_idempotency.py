"""Idempotency-Keys, cached answers and workers' beats."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from core.database.idempotency import Idempotency, IdempotentReply
from core.database.work import Transactions
from core.errors import InProgress
from core.evaluation.rows import AnswerCache
from core.fleet.rows import Heartbeats
from core.values import JobId
from tests.support.factories import NOW, digest

REPLY = IdempotentReply(
    actor="admin", key="abc", body=digest("body"), job=JobId("job_1"), created_at=NOW
)


def test_reply_is_found_under_its_actor_and_key(transactions: Transactions) -> None:
    with transactions() as work:
        work[Idempotency].add(REPLY)
        work[Idempotency].add(replace(REPLY, actor="other"))
        assert work[Idempotency].find("admin", "abc") == REPLY
        assert work[Idempotency].find("admin", "xyz") is None
        with pytest.raises(InProgress):
            work[Idempotency].add(replace(REPLY, job=JobId("job_2")))


def test_one_of_many_requests_at_once_gets_the_key(transactions: Transactions) -> None:
    def ask(number: int) -> bool:
        try:
            with transactions() as work:
                work[Idempotency].add(replace(REPLY, job=JobId(f"job_{number}")))
                time.sleep(0.05)  # the others come while this one is in flight
                work.commit()
        except InProgress:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(ask, range(6))) == 1


def test_key_of_a_rolled_back_request_is_free_again(transactions: Transactions) -> None:
    with transactions() as work:
        work[Idempotency].add(REPLY)
    with transactions() as work:
        work[Idempotency].add(REPLY)


def test_old_keys_are_forgotten(transactions: Transactions) -> None:
    with transactions() as work:
        work[Idempotency].add(REPLY)
        assert work[Idempotency].forget(NOW) == 0
        assert work[Idempotency].forget(NOW + timedelta(seconds=1)) == 1
        assert work[Idempotency].find("admin", "abc") is None


def test_answers_are_remembered_by_version_and_question(transactions: Transactions) -> None:
    with transactions() as work:
        work[AnswerCache].add(digest("v1"), digest("q1"), digest("a1"))
        work[AnswerCache].add(digest("v1"), digest("q1"), digest("a2"))
        work[AnswerCache].add(digest("v2"), digest("q1"), digest("a3"))
        kept = work[AnswerCache].stored([digest("v1")], [digest("q1"), digest("q2")])
        assert kept == {(digest("v1"), digest("q1")): digest("a2")}
        assert work[AnswerCache].judged(digest("q1")) == 2
        assert work[AnswerCache].judged(digest("q2")) == 0


def test_beat_is_fresh_for_a_while(transactions: Transactions) -> None:
    with transactions() as work:
        work[Heartbeats].record("w1", {"device": "cpu"})
        work[Heartbeats].record("w1", {"device": "cuda"})
        work.commit()
    time.sleep(0.3)
    with transactions() as work:
        work[Heartbeats].record("w2", {})
        assert work[Heartbeats].fresh(60) == [("w1", {"device": "cuda"}), ("w2", {})]
        assert work[Heartbeats].fresh(0.2) == [("w2", {})]
        work[Heartbeats].forget("w2")
        assert work[Heartbeats].fresh(0.2) == []
