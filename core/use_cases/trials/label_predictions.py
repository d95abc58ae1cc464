"""Label predictions of trials with the classes that are right."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum

from core.domain.trials.course import next_point
from core.domain.trials.prediction import Prediction
from core.domain.trials.trial import Trial
from core.domain.values import PredictionId, TrialId, clean_class
from core.errors import (
    ModelNotFound,
    PerennialError,
    PredictionNotFound,
)
from core.ports import Caller, Platform, UnitOfWork
from core.use_cases.trials.record_predictions import count_changes


class Labelled(StrEnum):
    """The outcome of sending a label."""

    COUNTED = "counted"
    WAITING = "waiting"  # it counts once the candidate of the shadow has answered
    REPEATED = "repeated"  # the prediction had it already
    SAME_CALLER = "same_caller"  # of a canary: another label of its caller has counted


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

    Of a canary one label of each caller counts: a caller stays with one version, so that further
    ones would tell about the caller rather than about the version. Refusals are ClassInvalid,
    PredictionNotFound, TrialEnded and PredictionLabelled.
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
        sent = dict.fromkeys(prediction for prediction, _ in labels if prediction in found)
        labelled = [found[id_] for id_ in sent if found[id_] != before[id_]]
        changed = {one.id: one for one in _once_a_caller(work, labelled)}
        work.predictions.save(list(changed.values()))
        count_changes(work, [(before[one.id], one) for one in changed.values()])
        work.commit()
    _note_course(platform, trials)
    return [_settled(receipt, changed) for receipt in receipts]


def _note_course(platform: Platform, trials: Mapping[TrialId, Trial]) -> None:
    """Note what the labels say now, where they have grown enough; nobody waits meanwhile."""
    with platform.transactions(read_only=True) as work:
        counts, course = work.trials.counts(trials), work.trials.course(trials)
    last = {trial: max((point.labels for point in course[trial]), default=0) for trial in trials}
    now = platform.clock()
    points = [next_point(trials[one], counts[one], now, last=last[one]) for one in sorted(trials)]
    if any(points):
        with platform.transactions() as work:
            held = work.trials.hold(trials)  # a model may have been deleted with them
            work.trials.note_course([one for one in points if one and one.trial in held])
            work.commit()


def _once_a_caller(work: UnitOfWork, labelled: Sequence[Prediction]) -> list[Prediction]:
    """Return labelled predictions, those marked of whose caller another one counts."""
    firsts: dict[Caller, PredictionId] = {}
    for one in labelled:
        if one.caller is not None:
            firsts.setdefault((one.trial, one.caller), one.id)
    new = work.predictions.first_labels(firsts)
    counting = {id_ for caller, id_ in firsts.items() if caller in new}
    return [
        replace(one, same_caller=one.caller is not None and one.id not in counting)
        for one in labelled
    ]


def _settled(receipt: Receipt, changed: Mapping[PredictionId, Prediction]) -> Receipt:
    one = changed.get(receipt.prediction)
    if receipt.outcome is Labelled.COUNTED and one is not None and one.same_caller:
        return replace(receipt, outcome=Labelled.SAME_CALLER)
    return receipt


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
