"""A monitor that ignores all progress."""

from collections.abc import Mapping

from core.domain.jobs.event import EventKind
from core.domain.values import Digest, Json


class NullMonitor:
    """ports.Monitor that reports nothing and never stops a run."""

    def advance(
        self, phase: str, step: int, total: int, terms: Mapping[str, float] | None = None
    ) -> None:
        """Ignore the progress."""

    def checkpoint_due(self) -> bool:
        """Return False: no checkpoint is ever due."""
        return False

    def moved(self, count: int) -> None:
        """Ignore the bytes."""

    def skip_checkpoint(self, step: int, facts: Json) -> None:
        """Do nothing; never called, because no checkpoint is due."""

    def save_checkpoint(self, digest: Digest, step: int) -> None:
        """Do nothing; never called, because no checkpoint is due."""

    def emit(self, kind: EventKind, data: Json) -> None:
        """Ignore the event."""
