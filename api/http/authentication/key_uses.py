"""Notes when keys are used, a little later, so that no request waits for it."""

import logging
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from threading import Event, Lock, Thread

from core.domain.access.principal import Principal
from core.domain.values import KeyId
from core.errors import PerennialError
from core.ports import Platform

log = logging.getLogger(__name__)

EVERY_S = 60.0
Authenticate = Callable[[Collection[str]], Mapping[str, Principal]]


class KeyUses:
    """Writes the last use of each key at most once a minute, from a thread of its own.

    The thread starts with the first use. What a process has noted since it wrote last is lost if
    it is killed.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._noted: dict[KeyId, datetime] = {}
        self._lock = Lock()  # of what is noted, and of the thread's start
        self._closing = Event()
        self._thread: Thread | None = None

    def noting(self, authenticate: Authenticate) -> Authenticate:
        """Return what authenticates alike, and notes the keys that let somebody in."""

        def noted(secrets: Collection[str]) -> Mapping[str, Principal]:
            found = authenticate(secrets)
            self.note({holder.key for holder in found.values() if holder.key is not None})
            return found

        return noted

    def note(self, keys: Collection[KeyId]) -> None:
        """Note that keys are used now."""
        if not keys:
            return
        now = self._platform.clock()
        with self._lock:
            self._noted.update(dict.fromkeys(keys, now))
            if self._thread is None and not self._closing.is_set():
                self._thread = Thread(target=self._run, name="key uses", daemon=True)
                self._thread.start()

    def write(self) -> None:
        """Write what was noted; while the database is down, it waits for the next time."""
        with self._lock:
            uses, self._noted = self._noted, {}
        if not uses:
            return
        try:
            with self._platform.transactions() as work:
                work.keys.note_uses(uses)
                work.commit()
        except PerennialError as fault:
            log.warning("uses of keys wait: %s", fault.message)
            with self._lock:
                self._noted = uses | self._noted
        except Exception:
            log.exception("uses of keys are lost", extra={"count": len(uses)})

    def close(self) -> None:
        """Write what was noted, and end the thread."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        self.write()

    def _run(self) -> None:
        while not self._closing.wait(EVERY_S):
            self.write()
