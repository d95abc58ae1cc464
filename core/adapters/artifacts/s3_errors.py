"""Translation of S3 errors to the service's own, without object keys or headers."""

from collections.abc import Iterator
from contextlib import contextmanager

from core.adapters.s3.client import error_code
from core.domain.values import Digest
from core.errors import ArtifactMissing, ArtifactsUnavailable, PerennialError, StorageFull

MISSING = {"404", "NoSuchKey", "NotFound"}
NO_ROOM = {
    "507",
    "InsufficientStorage",
    "InsufficientCapacity",
    "QuotaExceeded",
    "ServiceQuotaExceededException",
    "XMinioStorageFull",
    "XMinioAdminBucketQuotaExceeded",
}
TAKEN = {"412", "PreconditionFailed", "409", "ConditionalRequestConflict"}


@contextmanager
def translate_errors(
    digest: Digest | None = None, *, needed_bytes: int | None = None
) -> Iterator[None]:
    """Translate the client's errors to ArtifactMissing, StorageFull or ArtifactsUnavailable.

    ArtifactMissing needs a `digest`; without one, a missing object is ArtifactsUnavailable.
    StorageFull carries `needed_bytes`, the size of what was to be stored.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = error_code(error)
        if code in MISSING and digest is not None:
            raise ArtifactMissing(digest=digest) from None
        if code in NO_ROOM:
            raise StorageFull(
                "The S3 store has no space left.", needed_bytes=needed_bytes
            ) from error
        raise ArtifactsUnavailable(f"The S3 store returned {code}.", answer=code) from error
    except BotoCoreError as error:
        # The client wraps an error that a request body raises while it is read.
        if isinstance(wrapped := error.kwargs.get("error"), PerennialError):
            raise wrapped from None
        kind = type(error).__name__
        raise ArtifactsUnavailable(
            f"The S3 store does not respond ({kind}).", answer=kind
        ) from error
