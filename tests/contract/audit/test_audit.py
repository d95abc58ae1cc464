"""Audit events: written with the change that they tell of, and in one chain."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, insert, update

from core.audit import record as audit
from core.audit.record import verify_audit
from core.audit.rows import AuditTrail
from core.audit.rules import Action, AuditEvent, AuditFilter, AuditHead
from core.database.tables import audit_events
from core.database.work import Transactions
from core.platform import Platform
from core.principal import SERVICE
from core.settings import Settings
from core.values import KeyId
from tests.support.factories import NOW
from tests.support.memory_artifacts import MemoryArtifacts
from tests.support.storage.databases import writing

ME = replace(SERVICE, name="me", key=KeyId("key_1"), request_id="req_1")


def write(platform: Platform, subject: str, **more: Any) -> None:
    with platform.transactions() as work:
        audit.record(work, Action.MODEL_CREATED, subject, **{"now": NOW, **more})
        work.commit()


def page(platform: Platform, limit: int = 99, after: int | None = None, **wanted: Any) -> list[int]:
    with platform.transactions(read_only=True) as work:
        found = work[AuditTrail].page(limit, after, AuditFilter(**wanted))
    return [event.sequence for event in found]


def events(platform: Platform) -> list[AuditEvent]:
    with platform.transactions(read_only=True) as work:
        return list(work[AuditTrail].between(0, 99, 99))


@pytest.fixture
def platform(transactions: Transactions) -> Platform:
    """A platform on behalf of somebody."""
    made = Platform(
        settings=Settings(),
        transactions=transactions,
        artifacts=MemoryArtifacts(),
        clock=lambda: NOW,
    )
    return made.on_behalf_of(ME)


def test_an_event_tells_who_what_and_why(platform: Platform) -> None:
    write(platform, "models/a", before=None, after={"x": [1, 0.5, "é"]}, reason="why not")
    write(platform, "models/a", actor="job job_1")
    first, second = (event.change for event in events(platform))
    assert (first.actor, first.key, first.request_id, first.at) == ("me", "key_1", "req_1", NOW)
    assert (first.before, first.after, first.reason) == (None, {"x": [1, 0.5, "é"]}, "why not")
    assert second.actor == "job job_1"
    assert verify_audit(platform).broken_at is None


def test_pages_and_filters(platform: Platform) -> None:
    for n, subject in enumerate(["models/a", "models/a/aliases/x", "models/ab", "models/a%"]):
        write(platform, subject, now=NOW + timedelta(hours=n), actor=f"actor-{n % 2}")
    assert page(platform) == [4, 3, 2, 1]
    assert page(platform, 2) == [4, 3]
    assert page(platform, 2, 3) == [2, 1]
    assert page(platform, subject="models/a") == [2, 1]
    assert page(platform, subject="models/a%") == [4]
    assert page(platform, subject="models/A") == []
    assert page(platform, actor="actor-1") == [4, 2]
    assert page(platform, action="model.created", actor="actor-0") == [3, 1]
    assert page(platform, action="key.created") == []
    hour = timedelta(hours=1)
    assert page(platform, since=NOW + hour, until=NOW + 3 * hour) == [3, 2]
    assert page(platform, 1, since=NOW + hour, until=NOW + 3 * hour) == [3]
    assert page(platform, 1, 3, since=NOW + hour, until=NOW + 3 * hour) == [2]
    assert page(platform, 1, 2, since=NOW + hour, until=NOW + 3 * hour) == []
    for _ in range(3):
        write(platform, "models/b")
    assert page(platform, 2, since=NOW, subject="models/b") == [7, 6]
    assert page(platform, 2, 6, since=NOW, subject="models/b") == [5]


def test_writers_at_once_do_not_fork_the_chain(platform: Platform) -> None:
    def many(number: int) -> None:
        for _ in range(5):
            write(platform, f"models/{number}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(many, range(4)))
    found = verify_audit(platform)
    assert (found.head.sequence, found.broken_at) == (20, None)


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        (update(audit_events).where(audit_events.c.sequence == 2).values(reason="mine"), 2),
        (update(audit_events).where(audit_events.c.sequence == 3).values(hash="0" * 64), 3),
        (delete(audit_events).where(audit_events.c.sequence == 1), 1),
        (delete(audit_events).where(audit_events.c.sequence == 3), 3),
        (delete(audit_events), 1),
    ],
)
def test_an_edited_or_removed_row_shows(
    platform: Platform, url: str, statement: Any, broken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.audit.record.BATCH", 2)
    for n in range(3):
        write(platform, f"models/{n}")
    assert verify_audit(platform).broken_at is None
    with writing(url) as connection:
        connection.execute(statement)
    assert verify_audit(platform).broken_at == broken


def test_a_last_event_that_was_forged_with_its_hash_shows(platform: Platform, url: str) -> None:
    for n in range(3):
        write(platform, f"models/{n}")
    *_, second, third = events(platform)
    forged = AuditHead.of(second).append(replace(third.change, actor="you"))
    behind = AuditHead.of(third).append(third.change)
    row = update(audit_events).where(audit_events.c.sequence == 3)
    values = {**vars(behind.change), "sequence": 4, "hash": behind.hash}
    for forgery, broken in (
        (insert(audit_events).values(values), 4),
        (row.values(actor="you", hash=forged.hash), 3),
    ):
        with writing(url) as connection:
            connection.execute(forgery)
        assert verify_audit(platform).broken_at == broken
