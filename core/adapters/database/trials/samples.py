"""Samples of trials."""

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, delete, select

from core.adapters.database.statements import chunks, insert_new
from core.adapters.database.tables.trials import trial_samples as samples
from core.domain.trials.sample import Sample
from core.domain.values import Digest, TrialId
from core.errors import ImageNotFound


class SqlTrialSamples:
    """The `TrialSamples` port over SQL."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, sample: Sample) -> bool:
        """Add a sample; return whether the trial did not have the image yet."""
        return insert_new(self._connection, samples, vars(sample))

    def page(self, trial: TrialId, limit: int, after: Digest | None) -> Sequence[Sample]:
        """Return a page of a trial's samples, ordered by the digest of their pixels."""
        query = (
            select(samples)
            .where(samples.c.trial == trial, samples.c.pixels > (after or ""))
            .order_by(samples.c.pixels)
            .limit(limit)
        )
        return [Sample(**row._mapping) for row in self._connection.execute(query)]

    def get(self, trial: TrialId, pixels: Digest) -> Sample:
        """Return a sample. Raises ImageNotFound."""
        query = select(samples).where(samples.c.trial == trial, samples.c.pixels == pixels)
        row = self._connection.execute(query).first()
        if row is None:
            raise ImageNotFound(pixels=pixels)
        return Sample(**row._mapping)

    def holding(self, pixels: Collection[Digest]) -> Sequence[Sample]:
        """Return the samples of some images, of whatever trials."""
        found: list[Sample] = []
        for chunk in chunks(pixels):
            query = select(samples).where(samples.c.pixels.in_(chunk))
            found += [Sample(**row._mapping) for row in self._connection.execute(query)]
        return found

    def remove(self, trial: TrialId) -> int:
        """Delete the samples of a trial; return how many there were."""
        return self._connection.execute(delete(samples).where(samples.c.trial == trial)).rowcount

    def erase(self, pixels: Collection[Digest]) -> None:
        """Delete the samples of some images, of whatever trials."""
        for chunk in chunks(pixels):
            self._connection.execute(delete(samples).where(samples.c.pixels.in_(chunk)))
