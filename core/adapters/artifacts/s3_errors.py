"""What S3 may answer, as facts that have a name here. No key and no header gets into them."""

from collections.abc import Iterator
from contextlib import contextmanager

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
def named(digest: Digest | None = None, *, needed_bytes: int | None = None) -> Iterator[None]:
    """Raise ArtifactMissing, StorageFull or ArtifactsUnavailable for what the client raises.

    `needed_bytes`, of what was to be stored, is told with StorageFull.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = code_of(error)
        if code in MISSING and digest is not None:
            raise ArtifactMissing(digest=digest) from None
        if code in NO_ROOM:
            raise StorageFull(
                "The S3 store has no room left.", needed_bytes=needed_bytes
            ) from error
        raise ArtifactsUnavailable(f"The S3 store answers {code}.", answer=code) from error
    except BotoCoreError as error:
        # The client wraps what a body raises that is asked for its next piece.
        if isinstance(stopped := error.kwargs.get("error"), PerennialError):
            raise stopped from None
        kind = type(error).__name__
        raise ArtifactsUnavailable(
            f"The S3 store does not answer ({kind}).", answer=kind
        ) from error


def code_of(error: Exception) -> str:
    """S3's name for a refusal, or the HTTP status where there is no body to name it."""
    told = getattr(error, "response", {}).get("Error", {})
    return str(told.get("Code", "unknown"))
