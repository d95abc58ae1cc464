"""Marks of what learned from erased images, by digest: wherever it comes from, and whenever."""

from collections.abc import Collection, Mapping

from sqlalchemy import delete, select, update

from core.database.statements import chunks, insert_missing
from core.database.tables import marks, versions
from core.database.work import Rows
from core.errors import LearnedErasedImages
from core.registry.versions import Version
from core.values import Digest, ErasureId, ModelId


class Marks(Rows):
    """Digests of weights that learned from erased images, and of manifests that teach these."""

    def add(self, digests: Collection[Digest], erasure: ErasureId) -> None:
        """Mark digests; one that is marked keeps its first erasure."""
        rows = [{"digest": digest, "erasure": erasure} for digest in sorted(digests)]
        insert_missing(self._connection, marks, rows)

    def of(self, digests: Collection[Digest]) -> Mapping[Digest, ErasureId]:
        """Return the erasures that have marked some digests; those without a mark are left out."""
        found: dict[Digest, ErasureId] = {}
        for chunk in chunks(digests):
            query = select(marks).where(marks.c.digest.in_(chunk))
            found.update((row.digest, row.erasure) for row in self._connection.execute(query))
        return found

    def require_none(self, digests: Collection[Digest], what: str) -> None:
        """Raise LearnedErasedImages if a digest is marked; `what` begins the sentence."""
        if found := self.of(digests):
            digest, erasure = min(found.items())
            raise LearnedErasedImages(
                f"{what} learned from images that were erased here.", digest=digest, erasure=erasure
            )

    def clear(self, retrained: Version) -> list[tuple[ModelId, int]]:
        """Take the marks from what has the weights of a version that never had the images.

        Returns model and number of the versions that were marked. They get its feature statistics,
        as theirs were erased.
        """
        same = versions.c.digest == retrained.digest
        of = select(versions.c.model, versions.c.number).where(
            same, versions.c.erasure.is_not(None)
        )
        found = self._connection.execute(of.order_by(*of.selected_columns).with_for_update()).all()
        if found:
            clean = {
                "erasure": None,
                "feature_statistics": dict(retrained.feature_statistics),
            }
            self._connection.execute(update(versions).where(same).values(clean))
        self._connection.execute(delete(marks).where(marks.c.digest == retrained.digest))
        return [(model, number) for model, number in found]
