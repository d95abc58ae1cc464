"""The protocol of compiling versions, which torch implements."""

from typing import Protocol

from core.engines.rules import EngineCheck
from core.jobs.rules import Monitor
from core.values import Digest


class Compiler(Protocol):
    def require(self, version: Digest) -> None:
        """Raise EngineUnavailable unless this worker can compile versions in its precision."""

    def compile(self, version: Digest, monitor: Monitor) -> EngineCheck | None:
        """Have a version served by engines other than torch, in fp32 if its features are the same.

        Return what was found, now or before; None where nothing but torch serves. Raises
        EngineUnavailable, ArtifactMissing, ArtifactCorrupt, and what the monitor raises to stop it.
        """
