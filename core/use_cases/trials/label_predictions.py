"""Label predictions of trials with the classes that are right."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from core.domain.trials.prediction import Prediction
from core.domain.trials.trial import Trial
from core.domain.values import PredictionId, TrialId, clean_class
from core.errors import (
    ModelNotFound,
    PerennialError,
    PredictionNotFound,
)
from core.ports import Platform, UnitOfWork
from core.use_cases.trials.record_predictions import count_changes


class Labelled(StrEnum):
    """The outcome of sending a label."""

    COUNTED = "counted"
    WAITING = "waiting"  # it counts once the candidate of the shadow has answered
    REPEATED = "repeated"  # the prediction had it already


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """A label that was sent, and what became of it or why it was refused."""

    prediction: PredictionId
    outcome: Labelled | None = None
    refusal: PerennialError | None = None


def label_predictions(
    platform: Platform, labels: Sequence[tuple[PredictionId, str]]
) -> list[Receipt]:
    """Label predictions, each once: the first label counts. Return a receipt for each.

    Refusals are ClassInvalid, PredictionNotFound, TrialEnded and PredictionLabelled.
    """
    with platform.transactions() as work:
        found = dict(work.predictions.lock({prediction for prediction, _ in labels}))
        before = dict(found)
        trials = _trials(work, {one.trial for one in found.values()})
        receipts = []
        for prediction, label in labels:
            try:
                outcome, found[prediction] = _label(found, trials, prediction, label)
                receipts.append(Receipt(prediction=prediction, outcome=outcome))
            except PerennialError as refusal:
                receipts.append(Receipt(prediction=prediction, refusal=refusal))
        changed = [one for id_, one in found.items() if one != before[id_]]
        work.predictions.save(changed)
        count_changes(work, [(before[one.id], one) for one in changed])
        work.commit()
    return receipts


def _trials(work: UnitOfWork, ids: set[TrialId]) -> dict[TrialId, Trial]:
    """Return the trials of those models that the principal may see; they end after this."""
    found = {}
    for id_, trial in work.trials.hold(ids).items():
        with suppress(ModelNotFound):
            work.models.get(trial.model)
            found[id_] = trial
    return found


def _label(
    found: dict[PredictionId, Prediction],
    trials: dict[TrialId, Trial],
    prediction: PredictionId,
    label: str,
) -> tuple[Labelled, Prediction]:
    cleaned = clean_class(label)
    one = found.get(prediction)
    if one is None or one.trial not in trials:
        raise PredictionNotFound(prediction=prediction)
    trials[one.trial].require_running()
    labelled = one.labelled(cleaned)
    if labelled == one:
        return Labelled.REPEATED, one
    return Labelled.WAITING if labelled.waits else Labelled.COUNTED, labelled
