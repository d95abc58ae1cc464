"""The protocol of compiling versions, which torch implements."""

from typing import Protocol

from core.engines.rules import EngineCheck
from core.jobs.rules import Monitor
from core.values import Digest


class Compiler(Protocol):
    def compile(self, version: Digest, monitor: Monitor) -> EngineCheck | None:
        """Have a version served by an engine other than torch, if its features are the same.

        Return what was found, now or before; None where nothing but torch serves. Raises
        ArtifactMissing, ArtifactCorrupt, and what the monitor raises to stop it.
        """
