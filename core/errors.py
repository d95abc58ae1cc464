"""The errors that can stop a request or a job, as one tree.

    PerennialError
    ├── Invalid              the request itself is wrong                      422
    │   ├── Malformed        it cannot even be parsed                         400
    │   ├── Unsupported      a kind of content that is not accepted           415
    │   └── TooLarge         over a limit                                     413
    ├── NotFound             no such thing                                    404
    ├── Conflict             valid request, but the state does not allow it   409
    │   └── Gone             it existed, but its bytes have been deleted      410
    ├── RequestTimeout       the caller stopped in the middle of a request    408
    ├── TooManyRequests      over a rate, or too many jobs are waiting        429
    ├── PreconditionFailed   the resource changed after the caller read it    412
    ├── PreconditionRequired the caller must send If-Match or If-None-Match   428
    ├── Unauthorised / Forbidden / NotAcceptable                              401 / 403 / 406
    ├── RangeNotSatisfiable  bytes beyond the end                             416
    ├── Unavailable          it may work later                                503
    ├── Corrupt              stored bytes do not match their digest           500
    └── Interruption         a job must stop now, without having failed

A leaf's name in snake case is its stable code; its docstring is its default message.
"""

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class PerennialError(Exception):
    """An expected failure with a stable code."""

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


# Requests that are not valid.


class Invalid(PerennialError):
    """The request is not valid."""


class FieldInvalid(Invalid):
    """A field has a value that is not allowed."""


class FieldUnknown(Invalid):
    """The request has an unknown field."""


class ClassInvalid(Invalid):
    """A class name must be 1 to 100 printable characters, not all of them invisible."""


class CaptionInvalid(Invalid):
    """A caption must be 1 to 500 printable characters, not all of them invisible."""


class NameInvalid(Invalid):
    """A name must be 1 to 64 of a-z, 0-9, '-', '_' and '.', starting with a letter or digit."""


class PromptInvalid(Invalid):
    """A prompt template must have at most 200 printable characters and '{name}' exactly once."""


class PromptTooLong(Invalid):
    """A class's prompt is longer than the model's context length."""


class RecipeInvalid(Invalid):
    """The recipe has an unknown field or a value out of bounds."""


class RecipeUnsafe(Invalid):
    """The recipe's learning rate is far above the model's default; it must be forced."""


class TooFewPerClass(Invalid):
    """A class has too few images."""


class HoldoutBiased(Invalid):
    """Far fewer images of the dataset are held out than a fair split would hold out."""


class TooFewClasses(Invalid):
    """With this label space the update's loss would be zero: name at least two classes."""


class ImageCorrupt(Invalid):
    """The image is damaged or truncated."""


class ImageTooLarge(Invalid):
    """The image has too many pixels."""


class ImageAnimated(Invalid):
    """The image is animated: send the intended frame as a still image."""


class ImageErased(Invalid):
    """The image was erased, so it cannot be added or learned from again."""


class ImageInSuite(Invalid):
    """The image belongs to a suite, so no other dataset takes it: it must not be trained on."""


class SplitConflict(Invalid):
    """The image resembles known images on different sides or parts of the split: leave it out."""


class AllRejected(Invalid):
    """No file of the upload was accepted."""


class ArchiveUnsafe(Invalid):
    """The archive holds a path out of it, a link, another archive or something encrypted."""


class ArchiveCorrupt(Invalid):
    """The archive is damaged or truncated."""


class ArchiveEmpty(Invalid):
    """The archive holds no file to import."""


class ImageListInvalid(Invalid):
    """An image list must be UTF-8 and name a file and its class or caption in each entry."""


class TableInvalid(Invalid):
    """The Parquet file has no columns that can be read as images and their texts."""


class BundleInvalid(Invalid):
    """The file is not a bundle of a version, or does not hold what was signed."""


class BundleNotTrusted(Invalid):
    """No key that this service trusts has signed the bundle."""


class GuardUnfit(Invalid):
    """The suite has no test image of a class that the version was taught: it guards none."""


class FileMissing(Invalid):
    """An image list names this file, but it is not there."""


class TextMissing(Invalid):
    """Nothing gives this file a class or a caption: no folder, list, column or file beside it."""


class ObjectChanged(Invalid):
    """The object has changed or was deleted since the import was ordered: order it again."""


class BucketNotAllowed(Invalid):
    """Imports may read only the buckets that the operator names in PERENNIAL_IMPORT_BUCKETS."""


class BaseUnknown(Invalid):
    """The base must be 'bundled', an open_clip 'name:pretrained', or a folder or 'name:/file'."""


class ModelNotTrainable(Invalid):
    """The model loads, but this recipe cannot train it."""


class NotExportable(Invalid):
    """The format has no place for this model."""


class IdempotencyMismatch(Invalid):
    """This Idempotency-Key was already used with a different body."""


class UrlForbidden(Invalid):
    """Webhooks are sent to https URLs at public addresses only."""


# Content that cannot be parsed, is not supported or is too large.


class Malformed(Invalid):
    """The request cannot be parsed."""


class MalformedMultipart(Malformed):
    """The multipart body cannot be parsed."""


class Unsupported(Invalid):
    """This kind of content is not supported."""


class UnsupportedImage(Unsupported):
    """Images must be JPEG, PNG, WebP, GIF or BMP."""


class UnsupportedArchive(Unsupported):
    """An archive must be a zip, tar, tar.gz or Parquet file."""


class UnsupportedMediaType(Unsupported):
    """This operation does not accept the body's Content-Type."""


class WeightsFormat(Unsupported):
    """Weights must be safetensors, or files of torch in a root folder."""


class TooLarge(Invalid):
    """The content exceeds a limit."""


class BodyTooLarge(TooLarge):
    """The body exceeds the size limit."""


class FileTooLarge(TooLarge):
    """The file exceeds the size limit."""


class ArchiveTooBig(TooLarge):
    """The archive unpacks to too much."""


class TooManyParts(TooLarge):
    """The form has too many parts."""


class QuotaExceeded(TooLarge):
    """The images do not fit into the storage quota: delete images that are not needed any more."""


# Requests for a resource that does not exist.


class NotFound(PerennialError):
    """There is no such resource."""


class DatasetNotFound(NotFound):
    """There is no such dataset."""


class DatasetVersionNotFound(NotFound):
    """There is no such dataset version."""


class ImageNotFound(NotFound):
    """There is no such image in this dataset."""


class ErasureNotFound(NotFound):
    """There is no such erasure."""


class ClassNotFound(NotFound):
    """There is no such class."""


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


class TrialNotFound(NotFound):
    """The alias has no such trial."""


class PredictionNotFound(NotFound):
    """There is no such prediction: each is kept while its trial runs, up to an age and a number."""


class JobNotFound(NotFound):
    """There is no such job."""


class KeyNotFound(NotFound):
    """There is no such API key."""


class WebhookNotFound(NotFound):
    """There is no such webhook."""


class DeliveryNotFound(NotFound):
    """The webhook has no such delivery: deliveries are kept for 14 days."""


class ReportNotFound(NotFound):
    """There is no such forgetting report of this version; roots are not scored."""


class ExportNotFound(NotFound):
    """The version has no export in this format."""


class OriginNotFound(NotFound):
    """The version was not imported from a bundle."""


class VectorsNotFound(NotFound):
    """The version has no stored vectors of this dataset version."""


class IndexReportNotFound(NotFound):
    """The version has not been compared with an index of this version."""


class IndexNotFound(NotFound):
    """The model has no such index."""


class IndexVersionNotFound(NotFound):
    """The index has no vectors for this version."""


class UploadNotFound(NotFound):
    """There is no such upload."""


class FileReportNotFound(NotFound):
    """The job has no report of files: only an import of images that succeeded has one."""


class BlameNotFound(NotFound):
    """The job has no blame: only a job of the type blame that succeeded has one."""


class ArtifactMissing(NotFound):
    """The artifact is not in the store."""


# Requests that are valid but that the current state does not allow.


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


class TrainedElsewhere(Conflict):
    """The version was not trained here: import a bundle of the version that replaces it there."""


class ErasureCommitted(Conflict):
    """The images of this erasure are gone already: it cannot be cancelled, only finished."""


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


class SuiteRetired(Conflict):
    """The suite was retired: it judges no model any more."""


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


class IndexNotReady(Conflict):
    """An index that follows the alias has no complete vectors for the version."""


class NoPrevious(Conflict):
    """This alias has never pointed to another version."""


class TrialRunning(Conflict):
    """The alias has a trial that runs: stop it before you start another one."""


class TrialEnded(Conflict):
    """The trial has ended."""


class PredictionLabelled(Conflict):
    """The prediction has another label already, which counts."""


class ImageLabelled(Conflict):
    """The image has another label already, which stays."""


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


# A request's timing, rate, key, preconditions, Accept or Range.


class RequestTimeout(PerennialError):
    """The rest of the request did not arrive in time."""

    retryable = True


class TooManyRequests(PerennialError):
    """You have asked for more than the limits allow: try again later."""

    retryable = True


class RateExceeded(TooManyRequests):
    """You have made as many requests as your rate allows: wait for the seconds in Retry-After."""


class TooManyStreams(TooManyRequests):
    """As many event streams are open as your key may have: end one, or read events as pages."""


class TooManyJobs(TooManyRequests):
    """As many jobs are waiting as may wait: order again when some of them have started."""


class PreconditionFailed(PerennialError):
    """The resource has changed since you read it."""


class StaleRevision(PreconditionFailed):
    """The alias has been moved since you read it."""


class StalePreview(PreconditionFailed):
    """The gate says something else of this version than you were shown: look again, and decide."""


class TusVersion(PreconditionFailed):
    """Send Tus-Resumable: 1.0.0."""


class PreconditionRequired(PerennialError):
    """Send If-Match with the ETag that you read, or If-None-Match: * to create the resource."""


class ChecksumMismatch(PerennialError):
    """The bytes that arrived do not have the checksum of Upload-Checksum: send them again."""


class Unauthorised(PerennialError):
    """Send a valid API key or token: Authorization: Bearer <key or token>."""


class Forbidden(PerennialError):
    """The key's role does not allow this."""


class NotAcceptable(PerennialError):
    """The resource is not available in any media type that Accept lists."""


class RangeNotSatisfiable(PerennialError):
    """The range lies beyond the end of the file."""


# Faults of the service itself or of a system that it depends on.


class Unavailable(PerennialError):
    """The service cannot do this right now."""

    retryable = True


class DatabaseUnavailable(Unavailable):
    """The database does not respond."""


class InferenceUnavailable(Unavailable):
    """The inference process does not respond."""


class InferenceBusy(Unavailable):
    """The inference process is handling as many requests as it can: retry in a moment."""


class EngineUnavailable(Unavailable):
    """No engine of this machine computes the version in its precision."""


class ArtifactsUnavailable(Unavailable):
    """The artifact store does not respond."""


class BucketUnavailable(Unavailable):
    """The bucket cannot be read."""


class IssuerUnavailable(Unavailable):
    """The issuer of tokens does not respond; API keys are accepted as ever."""


class NotReady(Unavailable):
    """The service is not ready."""


class StorageFull(Unavailable):
    """No storage space is left."""


class Corrupt(PerennialError):
    """Stored bytes do not match their digest."""


class ArtifactCorrupt(Corrupt):
    """An artifact's bytes do not match its digest."""


class UnsafeConfiguration(PerennialError):
    """The service refuses to start with this configuration."""


class Internal(PerennialError):
    """An unexpected error occurred."""


# What ends or interrupts a job.


class Interruption(PerennialError):
    """The job must stop now."""


class LeaseLost(Interruption):
    """Another worker has taken over the job, so further writes are refused."""


class CancelRequested(Interruption):
    """The job is being cancelled."""


class StopRequested(Interruption):
    """The worker is shutting down; the job returns to the queue."""


class TrainingDiverged(PerennialError):
    """The loss or a gradient became NaN or infinite."""


class AnswersNotFinite(PerennialError):
    """A version's features contain NaN or infinity."""


class ExportDiffers(PerennialError):
    """The exported files do not give the version's features."""


class OutOfMemory(PerennialError):
    """The worker does not have enough memory for this job."""


class RankLost(PerennialError):
    """A training process has exited or stopped responding."""


class RanksDisagree(PerennialError):
    """The training processes ended up with different weights, so none of them can be used."""


# The system's error for a full disk.

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def is_full_disk(error: BaseException | None) -> bool:
    """Return whether this error, or any that it was raised from, is the system's 'disk full'."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def raising_storage_full(facts: Callable[[], dict[str, Any]] = dict) -> Iterator[None]:
    """Raise StorageFull, with these facts, in place of an error that tells of a full disk."""
    try:
        yield
    except OSError as error:
        if is_full_disk(error):
            raise StorageFull(**facts()) from error
        raise
