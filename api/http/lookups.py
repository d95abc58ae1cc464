"""Look-ups that requests share: of keys and sessions, and of what references to versions mean."""

import asyncio
from collections.abc import Callable, Collection, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Generic, TypeVar

from anyio import CapacityLimiter, to_thread

from core.errors import PerennialError, VersionNotFound
from core.images.inputs import ImageInput
from core.inference.classify import Resolved
from core.platform import Platform
from core.principal import Principal
from core.registry.read import ImageInputs
from core.registry.versions import Model, Version
from core.trials.rules import Tried
from core.trials.run import resolve_tried
from core.values import Digest

MOST_KNOWN = 1024  # values that are returned without a look-up
READING = 4  # threads that read weights, of which the store may be slow

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

_Wanted = tuple[str, Principal]  # a reference, and who asks what it means
_Found = tuple[Model, Version, Tried | None] | PerennialError


class SharedLookup(Generic[Key, Value]):
    """Looks up in one go the keys of all calls that wait, on a thread of its own.

    A call waits for a look-up that begins after it, so what it returns is never older than the
    call. The more calls there are, the more of them share a look-up. Where the database can tell
    by `state` that nothing was committed since a look-up began, its values are returned at once.
    """

    def __init__(
        self,
        look_up: Callable[[Collection[Key]], Mapping[Key, Value]],
        state: Callable[[], int | None],
    ) -> None:
        self._look_up = look_up
        self._state = state
        self._known_in: int | None = None  # the state in which what is known was looked up
        self._known: dict[Key, Value] = {}
        self._turn = asyncio.Lock()  # one look-up at a time
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="look-ups")
        self._keys: set[Key] | None = None  # of the look-up that has not begun
        self._found: asyncio.Task[Mapping[Key, Value]] | None = None

    async def find(self, key: Key) -> Value | None:
        """Return what the key stands for, None if nothing. Raises what the look-up raises."""
        if key in self._known and self._known_in == self._state():
            return self._known[key]
        if self._keys is None or self._found is None:
            self._keys = set()
            self._found = asyncio.create_task(self._run(self._keys))
        self._keys.add(key)
        found = await asyncio.shield(self._found)  # others may wait for it too
        return found.get(key)

    def close(self) -> None:
        """End the thread, after the look-up in progress."""
        self._thread.shutdown()

    async def _run(self, keys: Collection[Key]) -> Mapping[Key, Value]:
        async with self._turn:
            self._keys = None  # later calls wait for the next one
            state = self._state()
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(self._thread, self._look_up, keys)
            self._remember(state, found)
            return found

    def _remember(self, state: int | None, found: Mapping[Key, Value]) -> None:
        if state is None or state != self._known_in or len(self._known) > MOST_KNOWN:
            self._known_in, self._known = state, {}
        if state is not None:
            lasting = {k: one for k, one in found.items() if not isinstance(one, PerennialError)}
            self._known.update(lasting)


class VersionLookup:
    """Finds what references mean: never older than the question, so a moved alias counts at once.

    The questions of one principal that wait at the same time are answered by one look-up. The
    weights of a version that was not asked for before are read apart, which delays no other.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._inputs = ImageInputs(platform.artifacts)
        self._reading = CapacityLimiter(READING)
        self._shared: SharedLookup[_Wanted, _Found] = SharedLookup(
            self._look_up, platform.transactions.commits.state
        )

    async def find(self, reference: str, principal: Principal) -> Resolved:
        """Return what a reference means now. Raises what `resolve` raises, and NotServable."""
        found = await self._shared.find(
            (reference, replace(principal, request_id=None, trace=None))
        )
        if not isinstance(found, tuple):
            raise found or VersionNotFound(reference=reference)
        model, version, tried = found
        pixels = await self._input(version.digest)
        return Resolved(model=model, version=version, input=pixels, tried=tried)

    def close(self) -> None:
        """End the thread that looks up, after the look-up in progress."""
        self._shared.close()

    async def _input(self, digest: Digest) -> ImageInput:
        known = self._inputs.known(digest)
        if known is not None:
            return known
        return await to_thread.run_sync(self._inputs.of, digest, limiter=self._reading)

    def _look_up(self, wanted: Collection[_Wanted]) -> Mapping[_Wanted, _Found]:
        return {one: self._resolve(*one) for one in wanted}

    def _resolve(self, reference: str, principal: Principal) -> _Found:
        try:
            with self._platform.on_behalf_of(principal).transactions(read_only=True) as work:
                return resolve_tried(work, reference)
        except PerennialError as fault:
            return fault
