"""Failures of commands: messages that say what to do, and exit codes."""

from perennial.errors import JobFailed, ServiceError
from perennial.terminal.exit_codes import ERROR, GATE, JOB, UNREACHABLE

_ADVICE = {
    "unauthorised": "Log in again with `perennial login`, or set PERENNIAL_KEY to another key.",
    "forbidden": "Ask an admin for a key of that role.",
    "stale_revision": "Look at its state with `perennial aliases`, then decide again.",
    "gate_failed": "`perennial report` says why. To promote it anyway, give --override and a "
    "--reason; for a version that failed, that takes an admin's key.",
    "evaluation_stale": "Order an evaluation of the version first, or use --override.",
    "rate_exceeded": "Wait a moment and try again.",
}
_BUSY = {429, 502, 503, 504}


class Failure(Exception):
    """A command failed; the message is for people."""

    def __init__(self, message: str, exit_code: int = ERROR) -> None:
        super().__init__(message, exit_code)
        self.message = message
        self.exit_code = exit_code


def explained(error: Exception, url: str) -> Failure:
    """Return an error of the client as a failure of the command."""
    if isinstance(error, ServiceError):
        return _refusal(error)
    if isinstance(error, JobFailed):
        return Failure(f"{error}.".replace("..", "."), JOB)
    return Failure(
        f"No service answers at {url} ({error or type(error).__name__}). Check the address with "
        "`perennial login` or PERENNIAL_URL, and that the service runs.",
        UNREACHABLE,
    )


def _refusal(error: ServiceError) -> Failure:
    lines = [error.detail or error.code]
    for line in error.errors:
        place = line.get("pointer")
        lines.append(f"  {place}: {line['detail']}" if place else f"  {line['detail']}")
    for file in error.facts.get("files", ()):
        lines.append(f"  {file['file']}: {file['error']['detail']}")
    if error.code in _ADVICE:
        lines.append(_ADVICE[error.code])
    if error.status >= 500 and error.request_id:
        lines.append(f"The service's log has more under {error.request_id}.")
    code = GATE if error.code == "gate_failed" else UNREACHABLE if error.status in _BUSY else ERROR
    return Failure("\n".join(dict.fromkeys(lines)), code)
