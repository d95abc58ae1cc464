"""Predictions made during trials."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, select, update

from core.adapters.database.statements import chunks, insert_absent, insert_missing
from core.adapters.database.tables.trials import trial_callers, trials
from core.adapters.database.tables.trials import trial_predictions as predictions
from core.domain.trials.prediction import Prediction, Shadowed
from core.domain.trials.trial import Arm, TrialMode
from core.domain.values import PredictionId, TrialId
from core.ports import Caller

_SAVE = (
    update(predictions)
    .where(predictions.c.id == bindparam("of"))
    .values(
        label=bindparam("label_"),
        same_caller=bindparam("same_caller_"),
        shadowed=bindparam("shadowed_"),
        shadow_answer=bindparam("shadow_answer_"),
    )
)


class SqlPredictions:
    """The `Predictions` port over SQL."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, found: Sequence[Prediction]) -> Collection[PredictionId]:
        """Add predictions; return the ids of those that were not there yet."""
        there = self.lock([one.id for one in found])
        new = [one for one in found if one.id not in there]
        insert_missing(self._connection, predictions, [vars(one) for one in new])
        return {one.id for one in new}

    def lock(self, ids: Collection[PredictionId]) -> Mapping[PredictionId, Prediction]:
        """Return predictions, locked in the order of their ids, so that nobody deadlocks."""
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
            }
            for one in found
        ]
        if rows:
            self._connection.execute(_SAVE, rows)

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
    return Prediction(
        **{
            **row._mapping,
            "mode": TrialMode(row.mode),
            "arm": Arm(row.arm),
            "shadowed": Shadowed(row.shadowed) if row.shadowed is not None else None,
        }
    )
