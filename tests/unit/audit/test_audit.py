"""The chain of audit events."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from core.audit.rules import Action, AuditEvent, AuditHead, Change, first_break
from core.values import Digest, KeyId
from tests.support.factories import NOW

CHANGE = Change(
    actor="me",
    key=KeyId("key_1"),
    action=Action.ALIAS_MOVED,
    subject="models/demo/aliases/production",
    before={"version": 1},
    after={"version": 2},
    reason="better",
    request_id="req_1",
    at=NOW,
)


def chain(count: int) -> list[AuditEvent]:
    head, events = AuditHead(), []
    for n in range(count):
        events.append(head.append(replace(CHANGE, reason=f"reason {n}")))
        head = AuditHead.of(events[-1])
    return events


def test_a_chain_that_nobody_touched_holds() -> None:
    events = chain(3)
    assert [event.sequence for event in events] == [1, 2, 3]
    assert first_break(events, AuditHead()) is None
    assert first_break(events[1:], AuditHead.of(events[0])) is None


@pytest.mark.parametrize(
    "edited",
    [
        {"actor": "you"},
        {"key": None},
        {"action": "alias.created"},
        {"subject": "models/other"},
        {"before": None},
        {"after": {"version": 3}},
        {"reason": ""},
        {"request_id": None},
        {"at": NOW + timedelta(microseconds=1)},
    ],
)
def test_an_edited_field_shows(edited: dict[str, Any]) -> None:
    events = chain(3)
    events[1] = replace(events[1], change=replace(events[1].change, **edited))
    assert first_break(events, AuditHead()) == 2


@pytest.mark.parametrize(
    ("damage", "broken"),
    [
        (lambda events: events.pop(1), 2),
        (lambda events: events.pop(0), 1),
        (lambda events: events.insert(1, events.pop(2)), 2),
        (lambda events: events.insert(1, replace(events[1], hash=Digest("0" * 64))), 2),
        (lambda events: events.insert(1, AuditHead.of(events[0]).append(CHANGE)), 3),
    ],
)
def test_a_missing_moved_or_added_event_shows(
    damage: Callable[[list[AuditEvent]], object], broken: int
) -> None:
    events = chain(3)
    damage(events)
    assert first_break(events, AuditHead()) == broken
