"""Lists of audit events find the few that pass a filter by an index, however many came later."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import insert

from core.audit.rows import AuditTrail
from core.audit.rules import AuditFilter
from core.database.engine import open_engine
from core.database.tables import audit_events
from tests.support.factories import NOW
from tests.support.storage.query_plans import last_plan_of

ROWS, FEW = 4000, 10

EARLY = AuditFilter(since=NOW, until=NOW + timedelta(minutes=FEW))

FILTERS: Mapping[str, AuditFilter] = {
    "ix_audit_events_actor": AuditFilter(actor="few"),
    "ix_audit_events_action": AuditFilter(action="few"),
    "ix_audit_events_at": EARLY,
    "ix_audit_events_subject_prefix": AuditFilter(subject="few"),
}


def row(number: int) -> dict[str, Any]:
    names = dict.fromkeys(("actor", "action", "subject"), "few" if number <= FEW else "many")
    at = NOW + timedelta(minutes=number - 1)
    return {"sequence": number, **names, "reason": "", "at": at, "hash": "0" * 64}


def test_a_filtered_list_reads_no_other_events(url: str) -> None:
    engine = open_engine(url)
    with engine.begin() as connection:
        connection.execute(insert(audit_events), [row(number) for number in range(1, ROWS + 1)])
        last_plan = last_plan_of(connection)
        for index, wanted in FILTERS.items():
            for after in (None, ROWS):
                found = AuditTrail(connection).page(FEW, after, wanted)
                assert [one.sequence for one in found] == list(range(FEW, 0, -1))
                plan = last_plan()
                assert index in plan, plan
    engine.dispose()
