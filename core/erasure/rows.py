"""Rows of erasures."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, insert, select, update

from core.database.statements import insert_missing, page_by_id
from core.database.tables import erased_images, erasures
from core.database.work import Rows
from core.erasure.rules import Erasure
from core.errors import ErasureNotFound
from core.values import ErasureId, from_plain


class Erasures(Rows):
    """Rows of erasures, and of the images that they have erased."""

    def add(self, erasure: Erasure) -> None:
        """Store an erasure that has found nothing yet."""
        self._connection.execute(insert(erasures).values({**vars(erasure), "findings": None}))

    def get(self, erasure: ErasureId) -> Erasure:
        """Return an erasure. Raises ErasureNotFound."""
        query = select(erasures).where(erasures.c.id == erasure)
        row = self._connection.execute(query).first()
        if row is None:
            raise ErasureNotFound(erasure=erasure)
        return _to_erasure(row)

    def page(self, limit: int, after: str | None) -> Sequence[Erasure]:
        """Return a page of erasures, oldest first; `after` is the last id of the page before."""
        return [_to_erasure(row) for row in page_by_id(self._connection, erasures, limit, after)]

    def save(self, erasure: Erasure) -> None:
        """Update the job, the time and the findings of an erasure; note what it has erased."""
        findings = asdict(erasure.findings) if erasure.erased_at else None
        changed = {"job": erasure.job, "erased_at": erasure.erased_at, "findings": findings}
        self._connection.execute(
            update(erasures).where(erasures.c.id == erasure.id).values(changed)
        )
        rows = [
            {"pixels": pixels, "artifact": form, "erasure": erasure.id}
            for pixels, forms in erasure.findings.artifacts.items()
            for form in forms
        ]
        insert_missing(self._connection, erased_images, rows)


def _to_erasure(row: Row[Any]) -> Erasure:
    return from_plain(Erasure, {**row._mapping, "findings": row.findings or {}})
