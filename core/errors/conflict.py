"""Errors of requests that are valid but that the current state does not allow."""

from core.errors.root import PerennialError


class Conflict(PerennialError):
    """The current state does not allow this request."""


class NameTaken(Conflict):
    """The name is already taken."""


class DatasetEmpty(Conflict):
    """The dataset has no images."""


class InUse(Conflict):
    """It cannot be deleted, because something still uses it."""


class NotLabelled(Conflict):
    """The dataset is captioned, so its images have no classes."""


class ClassTaken(Conflict):
    """The dataset already has this class: send "merge": true to join the two."""


class DatasetVersionReplaced(Conflict):
    """The dataset version holds images that were erased: use the version that replaces it."""


class LearnedErasedImages(Conflict):
    """The version learned from images that were erased since."""


class ParentNotRetrained(Conflict):
    """The version that this one is to be trained from has not been trained again."""


class ErasurePending(Conflict):
    """The erasure has not ended yet."""

    retryable = True


class ImageFrozen(Conflict):
    """A version of the dataset holds the image, so it cannot be deleted."""


class ImageInTraining(Conflict):
    """An image of the suite belongs to the training side of a dataset version."""


class LabelConflict(Conflict):
    """The image is already in this dataset under another class."""


class ImportFailed(Conflict):
    """The model has no version, because its import did not succeed."""


class JobFinished(Conflict):
    """The job has already ended or is already being cancelled."""


class EvaluationPending(Conflict):
    """The version's evaluation has not finished."""


class SuitesTooSmall(Conflict):
    """The suites and holdouts have too few images."""


class AnswersMissing(Conflict):
    """The versions have not answered the same test images: evaluate them again."""


class GateFailed(Conflict):
    """The gate does not let this version go live."""


class EvaluationStale(Conflict):
    """The verdict does not cover the model's current suites, policy and live version."""


class ReportUnreadable(Conflict):
    """The forgetting report has a format that this release cannot read."""


class NotCalibrated(Conflict):
    """The version has no thresholds for "none of these": evaluate it."""


class NotServable(Conflict):
    """The version has no weights to serve."""


class StaleBase(Conflict):
    """The alias no longer points to the version that this update was trained from."""


class EmbeddingSpaceChanged(Conflict):
    """The reference now resolves to weights other than those expected."""


class NoPrevious(Conflict):
    """This alias has never pointed to another version."""


class TrialRunning(Conflict):
    """The alias has a trial that runs: stop it before you start another one."""


class TrialEnded(Conflict):
    """The trial has ended."""


class PredictionLabelled(Conflict):
    """The prediction has another label already, which counts."""


class TooManyWebhooks(Conflict):
    """There are as many webhooks as there may be: delete one that is not needed any more."""


class OffsetMismatch(Conflict):
    """The part does not begin where the upload ends."""


class UploadIncomplete(Conflict):
    """The upload has not arrived whole."""


class TooManyUploads(Conflict):
    """There are as many uploads as there may be: finish or delete some."""


class InProgress(Conflict):
    """The first request with this Idempotency-Key is still being processed."""

    retryable = True


class KeyNotLive(Conflict):
    """The API key was revoked or has expired: create another one."""


class LastAdminKey(Conflict):
    """This is the last admin key that lets anyone in: create another one before you revoke it."""


class ExporterMissing(Conflict):
    """No worker can write this format: install the extra `export` where the workers run."""


class SigningKeyMissing(Conflict):
    """This service has no key to sign bundles with: its operator sets PERENNIAL_SIGNING_KEY."""


class LineageUnknown(Conflict):
    """The model has none of the versions that the bundle's version was trained from."""


class Gone(Conflict):
    """The resource existed but has been deleted."""


class ArtifactGone(Gone):
    """The weights of this version have been deleted."""


class UploadExpired(Gone):
    """The upload has expired: send the file again."""


class ArchiveGone(Gone):
    """The archive of this import has been deleted: send it again."""


class JobDeleted(Gone):
    """The job that this Idempotency-Key made has been deleted with its model."""
