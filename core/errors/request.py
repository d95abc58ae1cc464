"""The request's time, key, precondition or choice of form is refused."""

from core.errors.root import PerennialError


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
