"""Errors of the client. Without any reply, the errors are those of httpx."""

from collections.abc import Mapping, Sequence
from typing import Any

from perennial.types import Job, ProblemLine


class ServiceError(Exception):
    """A reply that reports an error, from the service or from a proxy in front of it.

    `code` is stable and meant for programs, `detail` for people. `facts` holds the values that
    the error is about, `errors` one line for each invalid field. With `retryable`, the same
    request may succeed later. A reply that is not the service's own, such as a proxy's page, has
    a code made from its status, as in `502 bad_gateway`, and no request id.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        facts: Mapping[str, Any] | None = None,
        errors: Sequence[ProblemLine] = (),
        request_id: str = "",
        retryable: bool = False,
    ) -> None:
        # All arguments, so that the error can be pickled.
        super().__init__(status, code, detail, facts, errors, request_id, retryable)
        self.status = status
        self.code = code
        self.detail = detail
        self.facts = facts or {}
        self.errors = errors
        self.request_id = request_id
        self.retryable = retryable

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.detail}"


class JobFailed(Exception):
    """A job failed or was cancelled; `job` is the job as it ended."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.job = job

    def __str__(self) -> str:
        ended = "failed" if self.job["status"] == "failed" else "was cancelled"
        error = self.job["error"]
        reason = f": {error.get('code')}: {error.get('message')}" if error else ""
        return f"Job {self.job['id']} {ended}{reason}"
