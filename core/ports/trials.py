"""Ports for trials and for the predictions that are made during them."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from core.domain.registry.alias import Alias
from core.domain.trials.course import CoursePoint
from core.domain.trials.prediction import Prediction, TrialCounts
from core.domain.trials.sample import Sample
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

    def course(self, trials: Collection[TrialId]) -> Mapping[TrialId, Sequence[CoursePoint]]:
        """Return the points of some trials, by growing numbers of labels."""

    def note_course(self, points: Sequence[CoursePoint]) -> None:
        """Add points, but for those that are there."""


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


class TrialSamples(Protocol):
    def add(self, sample: Sample) -> bool:
        """Add a sample; return whether the trial did not have the image yet."""

    def page(self, trial: TrialId, limit: int, after: Digest | None) -> Sequence[Sample]:
        """Return a page of a trial's samples, ordered by the digest of their pixels."""

    def get(self, trial: TrialId, pixels: Digest) -> Sample:
        """Return a sample. Raises ImageNotFound."""

    def holding(self, pixels: Collection[Digest]) -> Sequence[Sample]:
        """Return the samples of some images, of whatever trials."""

    def remove(self, trial: TrialId) -> int:
        """Delete the samples of a trial; return how many there were."""

    def erase(self, pixels: Collection[Digest]) -> None:
        """Delete the samples of some images, of whatever trials."""
