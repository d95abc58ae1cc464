"""Errors of a request's timing, rate, key, preconditions, Accept or Range."""

from core.errors.root import PerennialError


class RequestTimeout(PerennialError):
    """The rest of the request did not arrive in time."""

    retryable = True


class TooManyRequests(PerennialError):
    """You have asked for more than the limits allow: try again later."""

    retryable = True


class RateExceeded(TooManyRequests):
    """You have made as many requests as your rate allows: wait for the seconds in Retry-After."""


class TooManyJobs(TooManyRequests):
    """As many jobs are waiting as may wait: order again when some of them have started."""


class PreconditionFailed(PerennialError):
    """The resource has changed since you read it."""


class StaleRevision(PreconditionFailed):
    """The alias has been moved since you read it."""


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
