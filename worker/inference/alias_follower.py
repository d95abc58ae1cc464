"""Hot swap: a version that goes live is loaded before the first request for it."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from threading import Event, Thread

from core.domain.values import Digest
from core.errors import ArtifactMissing, Corrupt, TrialNotFound, Unavailable, VersionNotFound
from core.ports import Platform
from worker.inference.model_cache import ModelCache

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
FOLLOWED = 4  # most recently moved aliases; other versions are loaded on request
# Damage, an unavailable store, and what torch raises for lack of memory or tensors that do not fit.
_CANNOT_LOAD = (Corrupt, ArtifactMissing, Unavailable, OSError, RuntimeError, MemoryError)


class AliasFollower:
    """Keeps the aliases' versions loaded, so that a promotion or rollback takes effect at once.

    So are the candidates of their trials. The newest versions of the same models are loaded while
    they are scored: they may go live next.
    """

    def __init__(self, platform: Platform, models: ModelCache) -> None:
        self._platform = platform
        self._models = models
        self._stopping = Event()
        self._thread = Thread(target=self._follow, name="aliases", daemon=True)
        self._warned: dict[str, str] = {}

    def start(self) -> None:
        """Start the thread that follows the aliases."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and wait for it to end."""
        self._stopping.set()
        self._thread.join()

    def look(self) -> None:
        """Load the versions that are or may go live, skipping those that cannot be loaded."""
        try:
            named = self._named()
        except Unavailable as fault:
            self._warn_once("database", fault.message)
            return
        self._warned.pop("database", None)
        room = self._models.max_bytes
        for place, digest in enumerate(dict.fromkeys(named)):
            try:
                room -= self._models.size_of(digest)
                if place > 0 and room < 0:  # it would only evict the ones before it
                    return
                self._models.get(digest)
            except _CANNOT_LOAD as fault:
                self._warn_once(digest, str(fault))

    def _named(self) -> Sequence[Digest]:
        with self._platform.transactions(read_only=True) as work:
            latest = sorted(work.aliases.all(), key=lambda alias: alias.updated_at, reverse=True)
            followed = latest[:FOLLOWED]
            digests = []
            for alias in followed:
                with suppress(
                    VersionNotFound, TrialNotFound
                ):  # deleted since, with its model or after a move
                    digests.append(work.versions.get(alias.model, alias.version).digest)
                    if alias.trial is not None:
                        candidate = work.trials.get(alias.trial).candidate
                        digests.append(work.versions.get(alias.model, candidate).digest)
            for model in dict.fromkeys(alias.model for alias in followed):
                newest = work.versions.newest(model)
                if newest is not None and newest.collected_at is None:
                    digests.append(newest.digest)
            return digests

    def _follow(self) -> None:
        while not self._stopping.is_set():
            self.look()
            self._stopping.wait(LOOK_EVERY_S)

    def _warn_once(self, about: str, problem: str) -> None:
        """Log a warning unless it repeats the last one about the same subject."""
        if self._warned.get(about) != problem:
            self._warned[about] = problem
            log.warning("cannot follow the aliases: %s (%s)", problem, about[:12])
