"""Trials of aliases, and their counts."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from core.adapters.database.statements import increase, insert_missing
from core.adapters.database.tables.models import aliases
from core.adapters.database.tables.trials import trial_counts, trial_course, trials
from core.domain.registry.alias import Alias
from core.domain.trials.course import CoursePoint
from core.domain.trials.prediction import COUNTS, TrialCounts
from core.domain.trials.trial import Trial, TrialEnd, TrialMode
from core.domain.values import ModelId, TrialId
from core.errors import StaleRevision, TrialNotFound, TrialRunning

LATEST = "latest"


class SqlTrials:
    """The `Trials` port over SQL."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def start(self, trial: Trial, alias: Alias) -> None:
        """Add a trial of an alias that has not moved. Raises StaleRevision or TrialRunning."""
        named = (aliases.c.model == alias.model) & (aliases.c.name == alias.name)
        taken = self._connection.execute(
            update(aliases)
            .where(named, aliases.c.revision == alias.revision, aliases.c.trial.is_(None))
            .values(trial=trial.id)
        )
        if taken.rowcount == 0:
            running = self._connection.scalar(select(aliases.c.trial).where(named))
            if running is not None:
                raise TrialRunning(trial=running)
            raise StaleRevision(expected=alias.revision)
        self._connection.execute(insert(trials).values(vars(trial)))

    def get(self, trial: TrialId) -> Trial:
        """Return a trial. Raises TrialNotFound."""
        row = self._connection.execute(select(trials).where(trials.c.id == trial)).first()
        if row is None:
            raise TrialNotFound(trial=trial)
        return _to_trial(row)

    def find(self, model: ModelId, alias: str, reference: str) -> Trial:
        """Return an alias's trial by id, or its newest as "latest". Raises TrialNotFound."""
        query = select(trials).where(trials.c.model == model, trials.c.alias == alias)
        if reference == LATEST:
            query = query.order_by(trials.c.id.desc()).limit(1)
        else:
            query = query.where(trials.c.id == reference)
        row = self._connection.execute(query).first()
        if row is None:
            raise TrialNotFound(trial=reference)
        return _to_trial(row)

    def page(self, model: ModelId, alias: str, limit: int, after: str | None) -> Sequence[Trial]:
        """Return a page of an alias's trials, oldest first."""
        query = (
            select(trials)
            .where(trials.c.model == model, trials.c.alias == alias, trials.c.id > (after or ""))
            .order_by(trials.c.id)
            .limit(limit)
        )
        return [_to_trial(row) for row in self._connection.execute(query)]

    def running(self, *models: ModelId) -> Sequence[Trial]:
        """Return the trials that run, of these models or of all."""
        query = select(trials).join(aliases, aliases.c.trial == trials.c.id).order_by(trials.c.id)
        if models:
            query = query.where(aliases.c.model.in_(models))
        return [_to_trial(row) for row in self._connection.execute(query)]

    def hold(self, ids: Collection[TrialId]) -> Mapping[TrialId, Trial]:
        """Return those of some trials that there are, and keep them from ending before commit."""
        query = select(trials).where(trials.c.id.in_(ids)).order_by(trials.c.id)
        rows = self._connection.execute(query.with_for_update(read=True))
        return {row.id: _to_trial(row) for row in rows}

    def end(
        self, model: ModelId, alias: str, end: TrialEnd, *, by: str, now: datetime
    ) -> Trial | None:
        """End the trial that an alias has; return it, None if it has none that runs."""
        named = (aliases.c.model == model) & (aliases.c.name == alias)
        held = select(aliases.c.trial).where(named).with_for_update(key_share=True)
        running = self._connection.scalar(held)  # locked before the trial, as moves do
        if running is None:
            return None
        self._connection.execute(update(aliases).where(named).values(trial=None))
        row = self._connection.execute(
            update(trials)
            .where(trials.c.id == running)
            .values(end=end.value, ended_by=by, ended_at=now)
            .returning(*trials.c)
        ).one()
        return _to_trial(row)

    def counts(self, trials: Collection[TrialId]) -> Mapping[TrialId, TrialCounts]:
        """Return what the predictions of some trials add up to."""
        found: dict[TrialId, dict[str, int]] = defaultdict(dict)
        query = select(trial_counts).where(trial_counts.c.trial.in_(trials))
        for trial, name, value in self._connection.execute(query):
            if name in COUNTS:  # a later release may count more
                found[trial][name] = value
        return {trial: TrialCounts(**found[trial]) for trial in trials}

    def count(self, trial: TrialId, counts: Mapping[str, int]) -> None:
        """Add to the counts of a trial; the rows are locked in one order, so nobody deadlocks."""
        for name in sorted(counts):
            if counts[name]:
                key = {"trial": trial, "name": name}
                increase(self._connection, trial_counts, key, "value", counts[name])

    def course(self, trials: Collection[TrialId]) -> Mapping[TrialId, Sequence[CoursePoint]]:
        """Return the points of some trials, by growing numbers of labels."""
        found: dict[TrialId, list[CoursePoint]] = {trial: [] for trial in trials}
        query = select(trial_course).where(trial_course.c.trial.in_(trials))
        for row in self._connection.execute(query.order_by(trial_course.c.labels)):
            found[row.trial].append(CoursePoint(**row._mapping))
        return found

    def note_course(self, points: Sequence[CoursePoint]) -> None:
        """Add points, but for those that are there."""
        insert_missing(self._connection, trial_course, [vars(point) for point in points])


def _to_trial(row: Row[Any]) -> Trial:
    end = TrialEnd(row.end) if row.end is not None else None
    return Trial(**{**row._mapping, "mode": TrialMode(row.mode), "end": end})
