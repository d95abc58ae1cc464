"""Processes that run from point to point when they are told to, and can die at each.

A process is a thread here, and only one of them runs at a time: what a machine draws is the order
in which the real code of several workers, of the API and of a garbage collection takes its steps.
They rest after each commit, after each artifact they put and before each that they look at to
collect; nobody rests within a transaction. `Killed` is to a thread what SIGKILL is to a process:
nothing of the service catches it.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Engine, event

from core.artifacts.local import LocalArtifacts
from core.artifacts.store import BytesCallback, StoredArtifact, ignore_bytes
from core.database.work import Transactions, Work
from core.values import Digest
from tests.nightly.faults.points import note_writes

# A promotion writes a verdict too: of several names a commit has the first.
NAMES = ("erase", "promote", "verdict", "publish", "checkpoint", "evaluate", "claim", "order")

GO, REST, DIE = "go", "rest", "die"  # what a process is told at a point

_here = threading.local()


class Killed(BaseException):
    """The process is dead."""


class Process:
    """Work that goes on when told to, until it ends or dies."""

    def __init__(self, name: str, work: Callable[[], object]) -> None:
        self.name = name
        self.stopping = False  # whether it was asked to end in order
        self.ended = False
        self.result: Any = None
        self.put: set[Digest] = set()  # its artifacts
        self._work = work
        self._say: Callable[[str], str] = lambda point: GO
        self._turn, self._rest = threading.Semaphore(0), threading.Semaphore(0)
        self._broken: BaseException | None = None
        threading.Thread(target=self._live, name=name, daemon=True).start()

    def go_on(self, points: int = 1_000_000) -> None:
        """Go past so many points, then rest at the next one."""
        left = iter(range(points))
        self._tell(lambda point: GO if next(left, None) is not None else REST)

    def go_and_die(self, at: str) -> bool:
        """Go on to a point and die there; False if it ended without getting there."""
        reached: list[str] = []

        def say(point: str) -> str:
            reached.append(point)
            return DIE if point == at else GO

        self._tell(say)
        return reached[-1:] == [at]

    def die(self) -> None:
        """Die here and now, unless it has ended already."""
        if not self.ended:
            self._tell(lambda point: DIE)

    def reach(self, point: str, *, may_rest: bool) -> None:
        """Be told, within the thread, what to do at a point."""
        word = self._say(point)
        if word is REST and may_rest:
            self._rest.release()
            self._turn.acquire()
            word = self._say("here")
        if word is DIE:
            raise Killed

    def _tell(self, say: Callable[[str], str]) -> None:
        self._say = say
        self._turn.release()
        self._rest.acquire()
        if self._broken is not None:
            raise AssertionError(f"{self.name} broke") from self._broken

    def _live(self) -> None:
        _here.process = self
        self._turn.acquire()
        try:
            if self._say("here") is not DIE:
                self.result = self._work()
        except Killed:
            pass
        except BaseException as broken:  # noqa: BLE001  (told to whoever made it go)
            self._broken = broken
        self.ended = True
        self._rest.release()


def reach(point: str, *, may_rest: bool = True) -> None:
    """The process that runs here, if it is one, gets to a point."""
    process: Process | None = getattr(_here, "process", None)
    if process is not None:
        process.reach(point, may_rest=may_rest)


class SteppedTransactions(Transactions):
    """Transactions with a point before and after each commit, named by what was written."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        # Nobody cuts the power here.
        event.listen(self._engine, "connect", lambda c, _: c.execute("PRAGMA synchronous = OFF"))

    def __call__(self, *, read_only: bool = False) -> "SteppedUnitOfWork":
        return SteppedUnitOfWork(self._engine, self._caches, read_only=read_only)


class SteppedUnitOfWork(Work):
    """One of them."""

    def __init__(self, engine: Engine, caches: dict[type[Any], Any], *, read_only: bool) -> None:
        super().__init__(engine, caches if read_only else {}, read_only=read_only)
        self._written: set[str] = set()

    def __enter__(self) -> "SteppedUnitOfWork":
        super().__enter__()
        note_writes(self, self._written.add)
        return self

    def commit(self) -> None:
        point = next((name for name in NAMES if name in self._written), "other")
        reach(f"{point}.before", may_rest=False)
        super().commit()
        reach(f"{point}.after")


class SteppedArtifacts(LocalArtifacts):
    """A folder of artifacts with a point after each `put` and before each look at one."""

    def put(self, data: bytes | memoryview, moved: BytesCallback = ignore_bytes) -> Digest:
        digest = super().put(data, moved)
        process: Process | None = getattr(_here, "process", None)
        if process is not None:
            process.put.add(digest)
        reach("put")
        return digest

    def stored(self) -> Iterator[StoredArtifact]:
        for found in super().stored():
            reach("look")
            yield found

    def grow_older(self, artifact: StoredArtifact, seconds: float) -> None:
        """As if it had been put so much earlier."""
        then = time.time() - artifact.age_s - seconds
        os.utime(self._path(artifact.digest), (then, then))
