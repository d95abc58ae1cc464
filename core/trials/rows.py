"""Rows of trials, their predictions and their samples."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from core.artifacts.store import ArtifactKind
from core.database.statements import chunks, insert_absent, insert_missing, insert_new, upsert
from core.database.tables import aliases, trial_callers, trial_counts, trial_course, trials
from core.database.tables import trial_predictions as predictions
from core.database.tables import trial_samples as samples
from core.database.work import Rows
from core.errors import ImageNotFound, StaleRevision, TrialNotFound, TrialRunning
from core.registry.aliases import Alias
from core.trials.rules import (
    COUNTS,
    Caller,
    CoursePoint,
    Prediction,
    Sample,
    Trial,
    TrialCounts,
    TrialEnd,
)
from core.values import Digest, ModelId, PredictionId, TrialId, from_plain

LATEST = "latest"


class Trials(Rows):
    """Rows of trials, of their counts and of their course."""

    def start(self, trial: Trial, alias: Alias) -> None:
        """Add a trial of an alias, which must not have moved since it was read.

        Raises StaleRevision, or TrialRunning if it has one that runs.
        """
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
        """Return the trials that run, of some models, or of every model if none is given."""
        query = select(trials).join(aliases, aliases.c.trial == trials.c.id).order_by(trials.c.id)
        if models:
            query = query.where(aliases.c.model.in_(models))
        return [_to_trial(row) for row in self._connection.execute(query)]

    def hold(self, ids: Collection[TrialId]) -> Mapping[TrialId, Trial]:
        """Lock trials, so that none ends or is deleted before commit; return those that exist."""
        query = select(trials).where(trials.c.id.in_(ids)).order_by(trials.c.id)
        rows = self._connection.execute(query.with_for_update(read=True))
        return {row.id: _to_trial(row) for row in rows}

    def end(
        self, model: ModelId, alias: str, end: TrialEnd, *, by: str, now: datetime
    ) -> Trial | None:
        """End the running trial of an alias and return it; None if the alias has none."""
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
        for name, amount in sorted(counts.items()):
            if amount:
                more = {"value": trial_counts.c.value + amount}
                values = {"trial": trial, "name": name, "value": amount}
                upsert(self._connection, trial_counts, values, more)

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
    return from_plain(Trial, row._mapping)


_SAVE = (
    update(predictions)
    .where(predictions.c.id == bindparam("of"))
    .values(
        label=bindparam("label_"),
        same_caller=bindparam("same_caller_"),
        shadowed=bindparam("shadowed_"),
        shadow_answer=bindparam("shadow_answer_"),
        turn=bindparam("turn_"),
    )
)


class Predictions(Rows):
    """Rows of predictions that were made during trials."""

    def add(self, found: Sequence[Prediction]) -> Collection[PredictionId]:
        """Add predictions; return the ids of those that were not there yet."""
        there = self.lock([one.id for one in found])
        new = [one for one in found if one.id not in there]
        insert_missing(
            self._connection, predictions, [vars(one) | {"turn": one.turn} for one in new]
        )
        return {one.id for one in new}

    def trials_of(self, ids: Collection[PredictionId]) -> set[TrialId]:
        """Return the trials of predictions, to hold them before the predictions are locked."""
        found: set[TrialId] = set()
        for chunk in chunks(ids):
            query = select(predictions.c.trial).where(predictions.c.id.in_(chunk)).distinct()
            found.update(self._connection.scalars(query))
        return found

    def lock(self, ids: Collection[PredictionId]) -> Mapping[PredictionId, Prediction]:
        """Return predictions, locked in the order of their ids, so that nobody deadlocks.

        Their trials are held first: whoever deletes a model locks its trials, then deletes these.
        """
        found: dict[PredictionId, Prediction] = {}
        for chunk in chunks(sorted(ids)):
            query = select(predictions).where(predictions.c.id.in_(chunk))
            rows = self._connection.execute(query.order_by(predictions.c.id).with_for_update())
            found.update((row.id, _to_prediction(row)) for row in rows)
        return found

    def save(self, found: Sequence[Prediction]) -> None:
        """Update labels and shadows' answers of locked predictions."""
        rows = [
            {
                "of": one.id,
                "label_": one.label,
                "same_caller_": one.same_caller,
                "shadowed_": one.shadowed,
                "shadow_answer_": one.shadow_answer,
                "turn_": one.turn,
            }
            for one in found
        ]
        if rows:
            self._connection.execute(_SAVE, rows)

    def to_label(self, trial: TrialId, limit: int, after: str | None) -> Sequence[Prediction]:
        """Return a page of a trial's disagreements without a label, in the order of their turns."""
        query = (
            select(predictions)
            .where(predictions.c.trial == trial, predictions.c.turn > (after or ""))
            .order_by(predictions.c.turn)
            .limit(limit)
        )
        return [_to_prediction(row) for row in self._connection.execute(query)]

    def first_labels(self, callers: Collection[Caller]) -> Collection[Caller]:
        """Keep that a label of these callers counts; return those without one until now."""
        rows = [{"trial": trial, "caller": caller} for trial, caller in sorted(callers)]
        inserted = insert_absent(self._connection, trial_callers, rows)
        return {(trial, caller) for trial, caller in inserted}

    def keep_newest(self, trial: TrialId, count: int) -> None:
        """Delete the predictions of a trial but for the newest ones."""
        newest = (
            select(predictions.c.id)
            .where(predictions.c.trial == trial)
            .order_by(predictions.c.id.desc())
        )
        oldest_kept = self._connection.scalar(newest.offset(count - 1).limit(1))
        if oldest_kept is not None:
            older = predictions.c.id < oldest_kept
            self._connection.execute(delete(predictions).where(predictions.c.trial == trial, older))

    def forget(self, before: datetime) -> None:
        """Delete predictions made before a moment, and all that ended trials need no more."""
        ended = select(trials.c.id).where(trials.c.end.is_not(None))
        for gone in (predictions.c.at < before, predictions.c.trial.in_(ended)):  # an index each
            self._connection.execute(delete(predictions).where(gone))
        self._connection.execute(delete(trial_callers).where(trial_callers.c.trial.in_(ended)))


def _to_prediction(row: Row[Any]) -> Prediction:
    return from_plain(Prediction, row._mapping)


class TrialSamples(Rows):
    """Rows of samples of trials."""

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

    def to_show(self, trial: TrialId, limit: int) -> Sequence[tuple[Sample, str | None, bool]]:
        """Return samples, each with its label and whether it is to be labelled; those first."""
        turn = predictions.c.turn
        query = (
            select(samples, predictions.c.label, turn)
            .join_from(samples, predictions, predictions.c.id == samples.c.prediction, isouter=True)
            .where(samples.c.trial == trial)
            .order_by(turn.is_(None), turn, samples.c.pixels)
            .limit(limit)
        )
        return [
            (from_plain(Sample, row._mapping), row.label, row.turn is not None)
            for row in self._connection.execute(query)
        ]

    def pixels_of(
        self, trial: TrialId, made: Collection[PredictionId]
    ) -> Mapping[PredictionId, Digest]:
        """Return the samples that a trial keeps of some predictions."""
        query = select(samples.c.prediction, samples.c.pixels).where(samples.c.trial == trial)
        rows = self._connection.execute(query.where(samples.c.prediction.in_(made)))
        return {row.prediction: row.pixels for row in rows}

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


def artifacts_of_samples(connection: Connection, kind: ArtifactKind) -> set[Digest]:
    """Return the artifacts of a kind that samples name."""
    if kind is not ArtifactKind.IMAGE:
        return set()
    return set(connection.scalars(select(samples.c.artifact)))


def delete_trials_of(connection: Connection, model: ModelId) -> None:
    """Delete the trials of a model with their counts, predictions and samples."""
    # Locked, as by whoever adds to one of them, so that nothing is added meanwhile.
    held = select(trials.c.id).where(trials.c.model == model).order_by(trials.c.id)
    tried = connection.scalars(held.with_for_update()).all()
    for table in (predictions, trial_callers, trial_counts, trial_course, samples):
        connection.execute(delete(table).where(table.c.trial.in_(tried)))
    connection.execute(delete(trials).where(trials.c.model == model))
