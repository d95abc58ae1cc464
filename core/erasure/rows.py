"""Erasures and the images that they have erased."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Row, insert, select, update

from core.database.statements import chunks, insert_missing, page_by_id
from core.database.tables import erased_images, erasures, images
from core.database.work import Rows
from core.erasure.rules import Erasure, Findings, Retraining
from core.errors import ErasureNotFound
from core.values import Digest, ErasureId

_ANY_ERASED = select(erased_images.c.pixels).limit(1)


class Erasures(Rows):
    """The `Erasures` port over SQL."""

    def add(self, erasure: Erasure) -> None:
        """Store an erasure that has found nothing yet."""
        values = {**vars(erasure), "images": list(erasure.images), "findings": None}
        self._connection.execute(insert(erasures).values(values))

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
        findings = erasure.findings.to_json() if erasure.erased_at else None
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

    def erased(self, pixels: Collection[Digest]) -> Mapping[Digest, ErasureId]:
        """Return which of some images were erased, and by which erasure."""
        found: dict[Digest, ErasureId] = {}
        if self._connection.execute(_ANY_ERASED).first() is None:
            return found  # as in most services, where thousands of images need not be asked for
        for chunk in chunks(pixels):
            query = select(erased_images.c.pixels, erased_images.c.erasure)
            rows = self._connection.execute(query.where(erased_images.c.pixels.in_(chunk)))
            found.update((row.pixels, row.erasure) for row in rows)
        return found

    def forms(self, pixels: Collection[Digest]) -> Mapping[Digest, Digest]:
        """Return the newest stored form of each of some images, also of erased ones."""
        found: dict[Digest, Digest] = {}
        for chunk in chunks(pixels):
            query = select(images.c.pixels, images.c.artifact).where(images.c.pixels.in_(chunk))
            found.update((row.pixels, row.artifact) for row in self._connection.execute(query))
        return found


def _to_erasure(row: Row[Any]) -> Erasure:
    return Erasure(
        **{
            **row._mapping,
            "images": tuple(row.images),
            "retraining": Retraining(row.retraining),
            "findings": Findings.from_json(row.findings or Findings(artifacts={}).to_json()),
        }
    )
