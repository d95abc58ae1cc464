"""Keep images about which the versions of a shadow disagree, find them, and delete them."""

from core.domain.access.audit import Action
from core.domain.trials.sample import Sample
from core.domain.values import Digest, PredictionId, TrialId
from core.errors import ImageNotFound
from core.ports import Decoder, Platform, UnitOfWork
from core.use_cases.access import audit
from core.use_cases.datasets.datasets import receive_image, require_room
from core.use_cases.datasets.quota import require_quota
from core.use_cases.trials.end_trial import subject_of


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
        work.thumbnails.lock()  # one sample at a time, and none while an erasure looks for them
        if work.erasures.erased([image.pixels]):
            platform.artifacts.delete(image.artifact)
            return True
        held = work.trials.hold([trial]).get(trial)
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
        if work.samples.add(sample):
            work.trials.count(trial, {"sampled": 1})
        work.commit()
    return True


def _room(platform: Platform, work: UnitOfWork, trial: TrialId) -> bool:
    return work.trials.counts([trial])[trial].sampled < platform.settings.max_trial_samples


def sample_form(
    platform: Platform, *, model: str, alias: str, trial: str, pixels: Digest
) -> Digest:
    """Return the artifact of a sample.

    Raises ModelNotFound, TrialNotFound, or ImageNotFound, which tells whether it was erased.
    """
    with platform.transactions(read_only=True) as work:
        found = work.trials.find(work.models.get(model).id, alias, trial)
        if erasure := work.erasures.erased([pixels]).get(pixels):
            raise ImageNotFound("The image was erased.", pixels=pixels, erasure=erasure)
        return work.samples.get(found.id, pixels).artifact


def delete_samples(platform: Platform, *, model: str, alias: str, trial: str) -> None:
    """Delete the samples of a trial; the next collection deletes their bytes.

    Raises ModelNotFound or TrialNotFound.
    """
    with platform.transactions() as work:
        found = work.models.get(model)
        of_alias = work.trials.find(found.id, alias, trial)
        if count := work.samples.remove(of_alias.id):
            audit.record(
                work,
                Action.SAMPLES_DELETED,
                subject_of(found, of_alias),
                now=platform.clock(),
                before={"samples": count},
            )
        work.commit()
