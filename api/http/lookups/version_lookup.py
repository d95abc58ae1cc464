"""Look-ups of versions that requests share."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from anyio import CapacityLimiter, to_thread

from api.http.lookups.shared_lookup import SharedLookup
from core.domain.access.principal import Principal
from core.domain.registry.image_input import ImageInput
from core.domain.registry.version import Model, Version
from core.domain.trials.trial import Tried
from core.domain.values import Digest
from core.errors import PerennialError, VersionNotFound
from core.ports import Platform
from core.use_cases.inference.classify import Resolved
from core.use_cases.registry.image_inputs import ImageInputs
from core.use_cases.registry.model_reference import resolve_tried

READING = 4  # threads that read weights, of which the store may be slow

_Wanted = tuple[str, Principal]  # a reference, and who asks what it means
_Found = tuple[Model, Version, Tried | None] | PerennialError


class VersionLookup:
    """Finds what references mean: never older than the question, so a moved alias counts at once.

    The questions of one principal that wait at the same time are answered by one look-up. The
    weights of a version that was not asked for before are read apart, which delays no other.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._inputs = ImageInputs(platform.artifacts)
        self._reading = CapacityLimiter(READING)
        self._shared: SharedLookup[_Wanted, _Found] = SharedLookup(self._look_up)

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
