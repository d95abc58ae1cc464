# Written by `python -m devtools.sync_client` from perennial/aio/resources/policies.py: change that.
"""Gate policies: how much a version may forget."""

from collections.abc import Iterator
from typing import cast

from perennial.connection import Connection
from perennial.request_parts import given, path_of
from perennial.types.evaluation.suites import Policy


class Policies:
    """The verbs of gate policies."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(
        self,
        name: str,
        *,
        parent_tolerance: float | None = None,
        root_tolerance: float | None = None,
        holdout_tolerance: float | None = None,
        wanted_gain: float | None = None,
        minimum_count: int | None = None,
        alpha: float | None = None,
        line_error: float | None = None,
        line_updates: int | None = None,
        negative_flips: float | None = None,
        reason: str | None = None,
    ) -> Policy:
        """Create a policy. Tolerances are fractions of 1, so 0.03 is 3 points."""
        body = given(
            name=name,
            parent_tolerance=parent_tolerance,
            root_tolerance=root_tolerance,
            holdout_tolerance=holdout_tolerance,
            wanted_gain=wanted_gain,
            minimum_count=minimum_count,
            alpha=alpha,
            line_error=line_error,
            line_updates=line_updates,
            negative_flips=negative_flips,
            reason=reason,
        )
        return cast(Policy, self._connection.post(path_of("gate-policies"), body))

    def get(self, name: str) -> Policy:
        """Return a policy."""
        return cast(Policy, self._connection.get(path_of("gate-policies", name)))

    def list(self) -> Iterator[Policy]:
        """Yield all policies."""
        return self._connection.pages(path_of("gate-policies"))
