"""The errors that can stop a request or a job, as one tree.

    PerennialError
    ├── Invalid              the request itself is wrong                      422
    │   ├── Malformed        it cannot even be parsed                         400
    │   ├── Unsupported      a kind of content that is not accepted           415
    │   └── TooLarge         over a cap                                       413
    ├── NotFound             no such thing                                    404
    ├── Conflict             valid request, but the state does not allow it   409
    │   └── Gone             it existed, but its bytes have been deleted      410
    ├── RequestTimeout       the caller stopped in the middle of a request    408
    ├── PreconditionFailed   the caller decided on an older state             412
    ├── PreconditionRequired the caller must say what it decided on           428
    ├── Unauthorised / Forbidden / NotAcceptable                              401 / 403 / 406
    ├── RangeNotSatisfiable  bytes beyond the end                             416
    ├── Unavailable          it may work later                                503
    ├── Corrupt              stored bytes do not match their digest           500
    └── Interruption         a job must stop now; not a fault

A leaf's name in snake case is its stable code; its docstring is its default message.
"""

import errno
import re

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class PerennialError(Exception):
    """Something went wrong that Perennial has a name for."""

    retryable = False

    def __init__(
        self, message: str | None = None, /, *, pointer: str | None = None, **facts: object
    ):
        self.message = message or (type(self).__doc__ or "").strip()
        self.pointer = pointer
        self.facts = facts
        super().__init__(self.message)

    @property
    def code(self) -> str:
        """The stable code of this error: its class name in snake case."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()


# ---- The request is wrong -------------------------------------------------------------------


class Invalid(PerennialError):
    """The request is not valid."""


class FieldInvalid(Invalid):
    """A field has a value that is not allowed."""


class FieldUnknown(Invalid):
    """A field is not known."""


class ClassInvalid(Invalid):
    """A class name must be 1 to 100 printable characters, not all of them invisible."""


class CaptionInvalid(Invalid):
    """A caption must be 1 to 500 printable characters, not all of them invisible."""


class NameInvalid(Invalid):
    """A name must be 1 to 64 of a-z, 0-9, '-', '_' and '.', starting with a letter or digit."""


class PromptInvalid(Invalid):
    """A prompt template must be at most 200 printable characters and hold '{name}' exactly once."""


class PromptTooLong(Invalid):
    """A class's prompt has more tokens than the model reads."""


class RecipeInvalid(Invalid):
    """The recipe has an unknown field or a value out of bounds."""


class TooFewPerClass(Invalid):
    """A class has too few images."""


class TooFewClasses(Invalid):
    """With this label space the update would have loss zero: name at least two classes."""


class ImageCorrupt(Invalid):
    """The image cannot be decoded to its end."""


class ImageTooLarge(Invalid):
    """The image has more pixels than the cap allows."""


class ImageAnimated(Invalid):
    """The image is animated: send the frame that is meant as an image of its own."""


class ImageInSuite(Invalid):
    """The image belongs to a suite or a holdout and may not be trained on."""


class SplitConflict(Invalid):
    """The image looks like known images on both sides of the split, so neither may have it."""


class AllRejected(Invalid):
    """No file of the upload was accepted."""


class BaseUnknown(Invalid):
    """The base is not an open_clip model with weights, a known folder or 'bundled'."""


class ModelNotTrainable(Invalid):
    """The model loads, but this recipe cannot train it."""


class IdempotencyMismatch(Invalid):
    """This Idempotency-Key was used with another body."""


class Malformed(Invalid):
    """The request cannot be parsed."""


class MalformedMultipart(Malformed):
    """The multipart body cannot be parsed."""


class Unsupported(Invalid):
    """This kind of content is not taken."""


class UnsupportedImage(Unsupported):
    """Images must be JPEG, PNG, WebP, GIF or BMP."""


class UnsupportedMediaType(Unsupported):
    """The body's Content-Type is not one that this operation takes."""


class WeightsFormat(Unsupported):
    """Weights must be safetensors."""


class TooLarge(Invalid):
    """The content is over a cap."""


class BodyTooLarge(TooLarge):
    """The body is larger than the cap."""


class FileTooLarge(TooLarge):
    """The file is larger than the cap."""


class TooManyParts(TooLarge):
    """The form has more parts than the cap."""


# ---- There is no such thing -----------------------------------------------------------------


class NotFound(PerennialError):
    """There is no such thing."""


class DatasetNotFound(NotFound):
    """There is no such dataset."""


class DatasetVersionNotFound(NotFound):
    """There is no such dataset version."""


class ImageNotFound(NotFound):
    """There is no such image in this dataset."""


class SuiteNotFound(NotFound):
    """There is no such suite."""


class PolicyNotFound(NotFound):
    """There is no such gate policy."""


class ModelNotFound(NotFound):
    """There is no such model."""


class VersionNotFound(NotFound):
    """There is no such version."""


class AliasNotFound(NotFound):
    """There is no such alias."""


class JobNotFound(NotFound):
    """There is no such job."""


class ReportNotFound(NotFound):
    """There is no forgetting report for this version: roots are not scored."""


class ArtifactMissing(NotFound):
    """The artifact is not in the store."""


# ---- Not now, not in this state -------------------------------------------------------------


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


class RequestTimeout(PerennialError):
    """The rest of the request did not arrive in time."""

    retryable = True


class PreconditionFailed(PerennialError):
    """The resource has changed since you read it."""


class StaleRevision(PreconditionFailed):
    """The alias has moved since you read it."""


class PreconditionRequired(PerennialError):
    """Send If-Match with the ETag you decided on, or If-None-Match: * to create."""


class Unauthorised(PerennialError):
    """A valid API key is needed: Authorization: Bearer <key>."""


class Forbidden(PerennialError):
    """The key's role does not allow this."""


class NotAcceptable(PerennialError):
    """This cannot be shown in any of the forms that Accept names."""


class RangeNotSatisfiable(PerennialError):
    """The range lies beyond the end of the file."""


# ---- Later, or never ------------------------------------------------------------------------


class Unavailable(PerennialError):
    """The service cannot do this right now."""

    retryable = True


class DatabaseUnavailable(Unavailable):
    """The database does not answer."""


class InferenceUnavailable(Unavailable):
    """The inference process does not answer."""


class InferenceBusy(Unavailable):
    """The inference process has as many requests as it takes: ask again in a moment."""


class ArtifactsUnavailable(Unavailable):
    """The artifact store does not answer."""


class NotReady(Unavailable):
    """The service is not ready to take work."""


class StorageFull(Unavailable):
    """The disk has no room left."""


class Corrupt(PerennialError):
    """Stored bytes do not match their digest."""


class ArtifactCorrupt(Corrupt):
    """An artifact's bytes do not match its digest."""


class UnsafeConfiguration(PerennialError):
    """The service refuses to start with this configuration."""


class Internal(PerennialError):
    """Something went wrong that nobody foresaw."""


def is_full_disk(error: BaseException | None) -> bool:
    """Return whether this error, or any that it was raised from, is the system's 'disk full'."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return True
        error = error.__cause__ or error.__context__
    return False


# ---- A job must stop ------------------------------------------------------------------------


class Interruption(PerennialError):
    """The job must stop now."""


class LeaseLost(Interruption):
    """Another worker holds the job: every further write is refused."""


class CancelRequested(Interruption):
    """The job is being cancelled."""


class StopRequested(Interruption):
    """The worker is shutting down; the job resumes elsewhere."""


class TrainingDiverged(PerennialError):
    """The loss is not a number any more."""


class AnswersNotFinite(PerennialError):
    """A version gives features that are not finite numbers."""


class OutOfMemory(PerennialError):
    """The worker has too little memory for this job."""


class RankLost(PerennialError):
    """A process that trains along has ended or does not answer."""


class RanksDisagree(PerennialError):
    """The processes that train together hold different weights: trust none of them."""
