"""Error responses of the inference process."""

from collections.abc import Mapping

from starlette.responses import JSONResponse

from core import errors

RETRY_AFTER_S = 1
# The most specific class of an error decides; errors that the caller has not made are 503.
_STATUS: Mapping[type[BaseException], int] = {
    errors.Malformed: 400,
    errors.Unauthorised: 401,
    errors.NotFound: 404,
    errors.TooLarge: 413,
    errors.Unsupported: 415,
    errors.Invalid: 422,
    errors.PerennialError: 503,
}


def problem(fault: errors.PerennialError) -> JSONResponse:
    """Return code and message as JSON, from which the API makes its own response."""
    status = next(_STATUS[step] for step in type(fault).__mro__ if step in _STATUS)
    headers = {503: {"Retry-After": str(RETRY_AFTER_S)}, 401: {"WWW-Authenticate": "Bearer"}}
    return JSONResponse(
        {"code": fault.code, "message": fault.message}, status, headers=headers.get(status)
    )
