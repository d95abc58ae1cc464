# Written by `python -m devtools.sync_client` from perennial/aio/resources/audit.py: change that.
"""Audit events, which an admin's key may read: who changed what."""

from collections.abc import Iterator
from typing import cast

from perennial.connection import Connection
from perennial.request_parts import path_of
from perennial.types.access import AuditEvent, Chain


class Audit:
    """The verbs of audit events."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def events(
        self,
        *,
        actor: str | None = None,
        action: str | None = None,
        subject: str | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> Iterator[AuditEvent]:
        """Yield events, newest first.

        `subject` is a path such as "models/demo"; what is below it is listed too. Times have
        their zone, such as "2027-12-31T00:00:00Z".
        """
        return self._connection.pages(
            path_of("audit-events"),
            actor=actor,
            action=action,
            subject=subject,
            since=since,
            until=until,
        )

    def verify(self) -> Chain:
        """Return whether an event was removed, edited or forged, and which."""
        return cast(Chain, self._connection.get(path_of("audit-events", "verification")))
