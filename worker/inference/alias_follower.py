"""Hot swap: a version that goes live is loaded before anybody asks for it."""

import logging
from collections.abc import Sequence
from threading import Event, Thread

from core.domain.values import Digest
from core.errors import ArtifactMissing, Corrupt, Unavailable
from core.ports import Platform
from worker.inference.model_cache import ModelCache

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
FOLLOWED = 4  # aliases that moved last; whatever else is asked for is loaded when it is
# Besides damage: a store that is away, and what torch raises for want of memory or of a fit.
_CANNOT_LOAD = (Corrupt, ArtifactMissing, Unavailable, OSError, RuntimeError, MemoryError)


class AliasFollower:
    """Keeps what the aliases name loaded, so that a promotion or rollback serves at once."""

    def __init__(self, platform: Platform, models: ModelCache) -> None:
        self._platform = platform
        self._models = models
        self._stopping = Event()
        self._thread = Thread(target=self._follow, name="aliases", daemon=True)
        self._told: dict[str, str] = {}

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """End soon."""
        self._stopping.set()
        self._thread.join()

    def look(self) -> None:
        """Load what the aliases name now; a version that cannot be loaded stops no other."""
        try:
            named = self._named()
        except Unavailable as fault:
            self._tell("database", fault.message)
            return
        self._told.pop("database", None)
        room = self._models.max_bytes
        for place, digest in enumerate(dict.fromkeys(named)):
            try:
                room -= self._models.size_of(digest)
                if place > 0 and room < 0:  # it would only push out the ones before it
                    return
                self._models.get(digest)
            except _CANNOT_LOAD as fault:
                self._tell(digest, str(fault))

    def _named(self) -> Sequence[Digest]:
        with self._platform.transactions(read_only=True) as work:
            latest = sorted(work.aliases.all(), key=lambda alias: alias.updated_at, reverse=True)
            return [
                work.versions.get(alias.model, alias.version).digest for alias in latest[:FOLLOWED]
            ]

    def _follow(self) -> None:
        while not self._stopping.is_set():
            self.look()
            self._stopping.wait(LOOK_EVERY_S)

    def _tell(self, about: str, what: str) -> None:
        """Warn once about each thing, not twice a second."""
        if self._told.get(about) != what:
            self._told[about] = what
            log.warning("cannot follow the aliases: %s (%s)", what, about[:12])
