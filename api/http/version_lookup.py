"""Look-ups of versions that requests share."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from api.http.shared_lookup import SharedLookup
from core.domain.access.principal import Principal
from core.errors import PerennialError, VersionNotFound
from core.ports import Platform
from core.use_cases.inference.classify import Resolved, resolve_version
from core.use_cases.registry.image_inputs import ImageInputs

_Wanted = tuple[str, Principal]  # a reference, and who asks what it means


class VersionLookup:
    """Finds what references mean: never older than the question, so a moved alias counts at once.

    The questions of one principal that wait at the same time are answered by one look-up.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._inputs = ImageInputs(platform.artifacts)
        self._shared: SharedLookup[_Wanted, Resolved | PerennialError] = SharedLookup(self._look_up)

    async def find(self, reference: str, asking: Principal) -> Resolved:
        """Return what a reference means now. Raises what `resolve_version` raises."""
        found = await self._shared.find((reference, replace(asking, request_id=None, trace=None)))
        if isinstance(found, Resolved):
            return found
        raise found or VersionNotFound(reference=reference)

    def _look_up(self, wanted: Collection[_Wanted]) -> Mapping[_Wanted, Resolved | PerennialError]:
        return {one: self._resolve(*one) for one in wanted}

    def _resolve(self, reference: str, asking: Principal) -> Resolved | PerennialError:
        try:
            return resolve_version(self._platform.on_behalf_of(asking), self._inputs, reference)
        except PerennialError as fault:
            return fault
