"""The request is valid, but the state does not allow it."""

from core.errors.root import PerennialError


class Conflict(PerennialError):
    """The state does not allow this now."""


class NameTaken(Conflict):
    """The name is taken."""


class DatasetEmpty(Conflict):
    """The dataset has no images."""


class InUse(Conflict):
    """It is in use."""


class ImageInTraining(Conflict):
    """An image of the suite belongs to the training side of a dataset version."""


class LabelConflict(Conflict):
    """The image is already in this dataset under another class."""


class ImportFailed(Conflict):
    """The model has no version, because its import did not succeed."""


class JobFinished(Conflict):
    """The job has ended or is being cancelled already."""


class EvaluationPending(Conflict):
    """The version's evaluation has not ended."""


class GateFailed(Conflict):
    """The gate does not let this version go live."""


class EvaluationStale(Conflict):
    """The version's verdict does not answer what is in force now: score it again."""


class ReportUnreadable(Conflict):
    """The forgetting report has a format that this release does not know."""


class NotServable(Conflict):
    """The version has no weights that could be served."""


class StaleBase(Conflict):
    """The alias has left the version this update was trained from."""


class EmbeddingSpaceChanged(Conflict):
    """The reference now means other weights than the ones expected."""


class NoPrevious(Conflict):
    """No other version was live before under this alias."""


class InProgress(Conflict):
    """The first request with this Idempotency-Key is still in flight."""

    retryable = True


class Gone(Conflict):
    """It was there and is not any more."""


class ArtifactGone(Gone):
    """The weights of that version are gone."""
