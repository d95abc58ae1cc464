"""Record predictions of trials, label them, and keep samples."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum

from core.audit import record as audit
from core.audit.rules import Action
from core.database.work import Work
from core.datasets.receive import require_quota
from core.datasets.rows import ErasedImages
from core.datasets.thumbnail_rows import Thumbnails
from core.datasets.uploads import receive_image, require_room
from core.errors import ImageNotFound, ModelNotFound, PerennialError, PredictionNotFound
from core.images.decoder import Decoder
from core.platform import Platform
from core.registry.rows import Models
from core.trials.rows import Predictions, Trials, TrialSamples
from core.trials.rules import Caller, Prediction, Sample, Shadowed, Trial, next_point, tally
from core.trials.run import subject_of
from core.values import Digest, PredictionId, TrialId, clean_class

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
        trials = work[Trials].hold({one.trial for one in batch.predictions})
        made = [one for one in batch.predictions if _runs(trials, one)]
        new = work[Predictions].add(made)
        changes: list[tuple[Prediction | None, Prediction]] = [
            (None, one) for one in made if one.id in new
        ]
        changes += _shadowed(work, batch.shadows)
        count_changes(work, changes)
        most = platform.settings.max_trial_predictions
        for trial, counts in sorted(work[Trials].counts({one.trial for one in made}).items()):
            if counts.answered > most:  # to look for the oldest one that is kept takes a while
                work[Predictions].keep_newest(trial, most)
        work.commit()


def count_changes(work: Work, changes: Changes) -> None:
    """Add to the counts of trials what changes of their predictions amount to."""
    counts: dict[TrialId, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for before, after in changes:
        for name, amount in tally(after).items():
            counts[after.trial][name] += amount
        for name, amount in tally(before).items() if before is not None else ():
            counts[after.trial][name] -= amount
    for trial in sorted(counts):
        work[Trials].count(trial, counts[trial])


def _shadowed(
    work: Work, answers: Mapping[PredictionId, ShadowAnswer]
) -> Sequence[tuple[Prediction, Prediction]]:
    trials = work[Trials].hold(work[Predictions].trials_of(answers))
    found = work[Predictions].lock(answers)
    changes = [
        (one, one.shadowed_by(answers[id_].answer, answers[id_].outcome))
        for id_, one in found.items()
        if _runs(trials, one)
    ]
    work[Predictions].save([after for before, after in changes if after != before])
    return changes


def _runs(trials: Mapping[TrialId, Trial], prediction: Prediction) -> bool:
    trial = trials.get(prediction.trial)
    return trial is not None and trial.end is None


# Labels: the classes that are right.


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
        asked = {prediction for prediction, _ in labels}
        trials = _trials(work, work[Predictions].trials_of(asked))
        found = dict(work[Predictions].lock(asked))
        before = dict(found)
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
        work[Predictions].save(list(changed.values()))
        count_changes(work, [(before[one.id], one) for one in changed.values()])
        work.commit()
    _note_course(platform, trials)
    return [_settled(receipt, changed) for receipt in receipts]


def _note_course(platform: Platform, trials: Mapping[TrialId, Trial]) -> None:
    """Note what the labels say now, where they have grown enough; nobody waits meanwhile."""
    with platform.transactions(read_only=True) as work:
        counts, course = work[Trials].counts(trials), work[Trials].course(trials)
    last = {trial: max((point.labels for point in course[trial]), default=0) for trial in trials}
    now = platform.clock()
    points = [next_point(trials[one], counts[one], now, last=last[one]) for one in sorted(trials)]
    if any(points):
        with platform.transactions() as work:
            held = work[Trials].hold(trials)  # a model may have been deleted with them
            work[Trials].note_course([one for one in points if one and one.trial in held])
            work.commit()


def _once_a_caller(work: Work, labelled: Sequence[Prediction]) -> list[Prediction]:
    """Return labelled predictions, those marked of whose caller another one counts."""
    firsts: dict[Caller, PredictionId] = {}
    for one in labelled:
        if one.caller is not None:
            firsts.setdefault((one.trial, one.caller), one.id)
    new = work[Predictions].first_labels(firsts)
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


def _trials(work: Work, ids: set[TrialId]) -> dict[TrialId, Trial]:
    """Return the trials of models that the principal may see; none ends before the commit."""
    found = {}
    for id_, trial in work[Trials].hold(ids).items():
        with suppress(ModelNotFound):
            work[Models].get(trial.model)
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


# Samples: images about which the versions of a shadow disagree.


def keep_sample(
    platform: Platform,
    decoder: Decoder,
    data: bytes,
    *,
    trial: TrialId,
    prediction: PredictionId,
    answer: str,
    shadow_answer: str,
) -> bool:
    """Keep an untrusted image in its stored form; return whether the trial can keep more.

    A trial keeps an image once, and while it runs at most as many as the setting says, those that
    were deleted since included. Raises QuotaExceeded, StorageFull, ArtifactsUnavailable, and why
    the image cannot be decoded.
    """
    with platform.transactions(read_only=True) as work:
        if not _room(platform, work, trial):
            return False
    require_room(platform)
    image, _ = receive_image(platform.artifacts.put, decoder, data)
    with platform.transactions(read_only=True) as work:  # it reads much, so it locks nothing
        require_quota(platform.settings, work, [image])
    with platform.transactions() as work:
        work[Thumbnails].lock()  # one sample at a time, and none while an erasure looks for them
        if work[ErasedImages].erased([image.pixels]):
            platform.artifacts.delete(image.artifact)
            return True
        held = work[Trials].hold([trial]).get(trial)
        # Where it is refused from here on, garbage collection deletes the bytes.
        if held is None or held.end is not None or not _room(platform, work, trial):
            return False
        sample = Sample(
            trial=trial,
            pixels=image.pixels,
            artifact=image.artifact,
            prediction=prediction,
            answer=answer,
            shadow_answer=shadow_answer,
            at=platform.clock(),
            size=image.size,
        )
        if work[TrialSamples].add(sample):
            work[Trials].count(trial, {"sampled": 1})
        work.commit()
    return True


def _room(platform: Platform, work: Work, trial: TrialId) -> bool:
    return work[Trials].counts([trial])[trial].sampled < platform.settings.max_trial_samples


def sample_form(
    platform: Platform, *, model: str, alias: str, trial: str, pixels: Digest
) -> Digest:
    """Return the artifact of a sample.

    Raises ModelNotFound, TrialNotFound, or ImageNotFound, which tells whether it was erased.
    """
    with platform.transactions(read_only=True) as work:
        found = work[Trials].find(work[Models].get(model).id, alias, trial)
        if erasure := work[ErasedImages].erased([pixels]).get(pixels):
            raise ImageNotFound("The image was erased.", pixels=pixels, erasure=erasure)
        return work[TrialSamples].get(found.id, pixels).artifact


def delete_samples(platform: Platform, *, model: str, alias: str, trial: str) -> None:
    """Delete the samples of a trial; the next collection deletes their bytes.

    Raises ModelNotFound or TrialNotFound.
    """
    with platform.transactions() as work:
        found = work[Models].get(model)
        of_alias = work[Trials].find(found.id, alias, trial)
        if count := work[TrialSamples].remove(of_alias.id):
            audit.record(
                work,
                Action.SAMPLES_DELETED,
                subject_of(found, of_alias),
                now=platform.clock(),
                before={"samples": count},
            )
        work.commit()
