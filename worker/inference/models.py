"""The versions that the inference process has loaded, and which it loads before they are asked."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import Generic, TypeVar

from core.artifacts.store import Artifacts
from core.engines.opening import require_precision
from core.engines.served import ServedModel
from core.errors import ArtifactMissing, Corrupt, TrialNotFound, Unavailable, VersionNotFound
from core.platform import Platform
from core.registry.alias_rows import Aliases
from core.registry.version_rows import Versions
from core.registry.versions import Weights, precision_of
from core.trials.rows import Trials
from core.values import Digest

log = logging.getLogger(__name__)


# A cache bounded by bytes.

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class ByteLimitedCache(Generic[_Key, _Value]):
    """Values by key; safe to share between threads.

    When they exceed `max_bytes`, the least recently used are evicted. The last one put stays, even
    if it alone is larger.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._values: OrderedDict[_Key, tuple[_Value, int]] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def get(self, key: _Key) -> _Value | None:
        """Return the value, which counts as a use, or None."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: _Key, value: _Value, size: int) -> None:
        """Store a value of `size` bytes."""
        self.make_room(size)
        with self._lock:
            _, before = self._values.pop(key, (None, 0))
            self._values[key] = (value, size)
            self._bytes += size - before

    def make_room(self, size: int) -> None:
        """Evict values until one of `size` bytes fits."""
        with self._lock:
            while self._values and self._bytes + size > self.max_bytes:
                _, (_, evicted) = self._values.popitem(last=False)
                self._bytes -= evicted

    def keys(self) -> list[_Key]:
        """Return the stored keys, the least recently used first."""
        with self._lock:
            return list(self._values)


# The versions that the inference process has loaded.


class ModelCache:
    """Loaded versions by digest, verified at every load; the least recently used are evicted.

    `open_version` returns a version as it is served.
    """

    def __init__(
        self,
        artifacts: Artifacts,
        open_version: Callable[[Digest], ServedModel],
        *,
        max_bytes: int,
    ) -> None:
        self._artifacts = artifacts
        self._open = open_version
        self._loading = Lock()
        self._sizes: dict[Digest, int] = {}
        self._models: ByteLimitedCache[Digest, ServedModel] = ByteLimitedCache(max_bytes=max_bytes)

    @property
    def max_bytes(self) -> int:
        """The limit on the bytes of loaded tensors; a single larger version is loaded anyway."""
        return self._models.max_bytes

    def get(self, digest: Digest) -> ServedModel:
        """Return the version, loading it if needed. Raises ArtifactMissing or ArtifactCorrupt."""
        found = self._models.get(digest)
        if found is None:
            with self._loading:  # one load at a time; loaded versions are served meanwhile
                found = self._models.get(digest) or self._load(digest)
        return found

    def size_of(self, digest: Digest) -> int:
        """Return the bytes of a version's tensors.

        Raises ArtifactMissing, ArtifactCorrupt, or EngineUnavailable for a version that cannot be
        loaded here, so that no other makes room for it.
        """
        if digest not in self._sizes:
            weights = Weights.from_bytes(self._artifacts.get(digest))
            require_precision(precision_of(weights.config))
            self._sizes[digest] = sum(entry.size for entry in weights.tensors)
        return self._sizes[digest]

    def digests(self) -> list[Digest]:
        """Return the digests of the loaded versions, sorted."""
        return sorted(self._models.keys())

    def _load(self, digest: Digest) -> ServedModel:
        size = self.size_of(digest)
        self._models.make_room(size)  # before the new version takes memory
        model = self._open(digest)
        self._models.put(digest, model, size)
        return model


# Hot swap: a version that goes live is loaded before the first request for it.

LOOK_EVERY_S = 0.5
FOLLOWED = 4  # most recently moved aliases; other versions are loaded on request
# Damage, an unavailable store, and what engines raise for lack of memory or for tensors that do not
# fit.
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
            latest = sorted(work[Aliases].all(), key=lambda alias: alias.updated_at, reverse=True)
            followed = latest[:FOLLOWED]
            digests = []
            for alias in followed:
                with suppress(
                    VersionNotFound, TrialNotFound
                ):  # deleted since, with its model or after a move
                    digests.append(work[Versions].get(alias.model, alias.version).digest)
                    if alias.trial is not None:
                        candidate = work[Trials].get(alias.trial).candidate
                        digests.append(work[Versions].get(alias.model, candidate).digest)
            for model in dict.fromkeys(alias.model for alias in followed):
                newest = work[Versions].newest(model)
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
