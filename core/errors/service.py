"""The service or what it stands on fails."""

from core.errors.root import PerennialError


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
