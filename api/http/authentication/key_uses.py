"""Notes when keys are used."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime

from api.background_writer import BackgroundWriter
from core.domain.access.principal import Principal
from core.domain.values import KeyId
from core.ports import Platform

EVERY_S = 60.0
MAX_WAITING = 100_000  # keys
Authenticate = Callable[[Collection[str]], Mapping[str, Principal]]


class KeyUses(BackgroundWriter[dict[KeyId, datetime]]):
    """Writes the last use of each key at most once a minute."""

    def __init__(self, platform: Platform) -> None:
        super().__init__("uses of keys", self._note_uses, every_s=EVERY_S, most=MAX_WAITING)
        self._platform = platform

    def noting(self, authenticate: Authenticate) -> Authenticate:
        """Return what authenticates alike, and notes the keys that let somebody in."""

        def noted(secrets: Collection[str]) -> Mapping[str, Principal]:
            found = authenticate(secrets)
            self.note({holder.key for holder in found.values() if holder.key is not None})
            return found

        return noted

    def note(self, keys: Collection[KeyId]) -> None:
        """Note that keys are used now."""
        if keys:
            self.add(dict.fromkeys(keys, self._platform.clock()))

    def _note_uses(self, uses: Mapping[KeyId, datetime]) -> None:
        with self._platform.transactions() as work:
            work.keys.note_uses(uses)
            work.commit()
