"""Errors of the service itself or of a system that it depends on."""

from core.errors.root import PerennialError


class Unavailable(PerennialError):
    """The service cannot do this right now."""

    retryable = True


class DatabaseUnavailable(Unavailable):
    """The database does not respond."""


class InferenceUnavailable(Unavailable):
    """The inference process does not respond."""


class InferenceBusy(Unavailable):
    """The inference process is handling as many requests as it can: retry in a moment."""


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
