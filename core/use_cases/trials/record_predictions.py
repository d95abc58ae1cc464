"""Record predictions of trials, and what became of the questions to shadows."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from core.domain.trials.prediction import Prediction, Shadowed, tally
from core.domain.trials.trial import Trial
from core.domain.values import PredictionId, TrialId
from core.ports import Platform, UnitOfWork

Changes = Iterable[tuple[Prediction | None, Prediction]]  # before and after


@dataclass(frozen=True, kw_only=True)
class ShadowAnswer:
    """The outcome of asking a candidate: its class, if it answered."""

    outcome: Shadowed
    answer: str | None = None


@dataclass(kw_only=True)
class Batch:
    """The rows to record in one transaction."""

    predictions: list[Prediction] = field(default_factory=list)
    shadows: dict[PredictionId, ShadowAnswer] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.predictions) + len(self.shadows)

    def __or__(self, newer: "Batch") -> "Batch":
        return Batch(
            predictions=self.predictions + newer.predictions, shadows=self.shadows | newer.shadows
        )


def record_predictions(platform: Platform, batch: Batch) -> None:
    """Record predictions of trials that run, and the shadows' answers, in one transaction.

    Recording a batch again changes nothing. The oldest predictions above the number that is kept
    are deleted.
    """
    with platform.transactions() as work:
        trials = work.trials.hold({one.trial for one in batch.predictions})
        made = [one for one in batch.predictions if _runs(trials, one)]
        new = work.predictions.add(made)
        changes: list[tuple[Prediction | None, Prediction]] = [
            (None, one) for one in made if one.id in new
        ]
        changes += _shadowed(work, batch.shadows)
        count_changes(work, changes)
        _keep_newest(work, {one.trial for one in made}, platform.settings.max_trial_predictions)
        work.commit()


def count_changes(work: UnitOfWork, changes: Changes) -> None:
    """Add to the counts of trials what changes of their predictions amount to."""
    counts: dict[TrialId, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for before, after in changes:
        for name, amount in tally(after).items():
            counts[after.trial][name] += amount
        for name, amount in tally(before).items() if before is not None else ():
            counts[after.trial][name] -= amount
    for trial in sorted(counts):
        work.trials.count(trial, counts[trial])


def _shadowed(
    work: UnitOfWork, answers: Mapping[PredictionId, ShadowAnswer]
) -> Sequence[tuple[Prediction, Prediction]]:
    found = work.predictions.lock(answers)
    trials = work.trials.hold({one.trial for one in found.values()})
    changes = [
        (one, one.shadowed_by(answers[id_].answer, answers[id_].outcome))
        for id_, one in found.items()
        if _runs(trials, one)
    ]
    work.predictions.save(_changed(changes))
    return changes


def _keep_newest(work: UnitOfWork, trials: Collection[TrialId], most: int) -> None:
    for trial, counts in sorted(work.trials.counts(trials).items()):
        if counts.answered > most:  # to look for the oldest one that is kept takes a while
            work.predictions.keep_newest(trial, most)


def _runs(trials: Mapping[TrialId, Trial], prediction: Prediction) -> bool:
    trial = trials.get(prediction.trial)
    return trial is not None and trial.end is None


def _changed(changes: Collection[tuple[Prediction, Prediction]]) -> list[Prediction]:
    return [after for before, after in changes if after != before]
