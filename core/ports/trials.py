"""Ports for trials and for the predictions that are made during them."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from core.domain.registry.alias import Alias
from core.domain.trials.prediction import Prediction, TrialCounts
from core.domain.trials.trial import Trial, TrialEnd
from core.domain.values import Digest, ModelId, PredictionId, TrialId

Caller = tuple[TrialId, Digest]  # see `Trial.caller_of`


class Trials(Protocol):
    def start(self, trial: Trial, alias: Alias) -> None:
        """Add a trial of an alias, which must not have moved since it was read.

        Raises StaleRevision, or TrialRunning if it has one that runs.
        """

    def get(self, trial: TrialId) -> Trial:
        """Return a trial. Raises TrialNotFound."""

    def find(self, model: ModelId, alias: str, reference: str) -> Trial:
        """Return an alias's trial by its id, or its newest as "latest". Raises TrialNotFound."""

    def page(self, model: ModelId, alias: str, limit: int, after: str | None) -> Sequence[Trial]:
        """Return a page of an alias's trials, oldest first."""

    def running(self, *models: ModelId) -> Sequence[Trial]:
        """Return the trials that run, of some models, or of every model if none is given."""

    def hold(self, trials: Collection[TrialId]) -> Mapping[TrialId, Trial]:
        """Return those of some trials that there are, and keep them from ending before commit."""

    def end(
        self, model: ModelId, alias: str, end: TrialEnd, *, by: str, now: datetime
    ) -> Trial | None:
        """End the trial that an alias has; return it, None if it has none that runs."""

    def counts(self, trials: Collection[TrialId]) -> Mapping[TrialId, TrialCounts]:
        """Return what the predictions of some trials add up to."""

    def count(self, trial: TrialId, counts: Mapping[str, int]) -> None:
        """Add to the counts of a trial, by names of `TrialCounts`."""


class Predictions(Protocol):
    def add(self, predictions: Sequence[Prediction]) -> Collection[PredictionId]:
        """Add predictions; return the ids of those that were not there yet."""

    def lock(self, ids: Collection[PredictionId]) -> Mapping[PredictionId, Prediction]:
        """Return predictions, and keep others from changing them before commit."""

    def save(self, predictions: Sequence[Prediction]) -> None:
        """Update labels and shadows' answers of locked predictions."""

    def first_labels(self, callers: Collection[Caller]) -> Collection[Caller]:
        """Keep that a label of these callers counts; return those without one until now."""

    def keep_newest(self, trial: TrialId, count: int) -> None:
        """Delete the predictions of a trial but for the newest ones."""

    def forget(self, before: datetime) -> None:
        """Delete predictions made before a moment, and all that ended trials need no more."""
