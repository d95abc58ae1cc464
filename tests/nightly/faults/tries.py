"""What a row of the fault table is, and what came of its tries."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from statistics import median
from typing import Any

from tests.nightly.faults.stage import RECOVERY_S, Stage

Run = Callable[[Stage, int, Random], Iterator["Try"]]


@dataclass(frozen=True, kw_only=True)
class Try:
    """One fault, and what the service was like afterwards."""

    what: str  # where and how it struck
    trouble: str = ""  # what did not hold; empty: everything did
    lost: int = 0  # acknowledged things that are gone, or jobs that did not end well
    duplicated: int = 0  # things that are there more than once
    equal: bool | None = None  # the digest is the undisturbed one's; None: nothing was trained
    recovery_s: float | None = None
    slow: str = ""  # what took longer than an otherwise idle machine needs

    @property
    def survived(self) -> bool:
        return not (self.trouble or self.lost or self.duplicated or self.equal is False)

    def __str__(self) -> str:
        """One line of progress."""
        took = f", back after {self.recovery_s:.1f} s" if self.recovery_s is not None else ""
        counts = f", lost {self.lost}, duplicated {self.duplicated}, digest equal: {self.equal}"
        return f"{self.what}{took}" + ("" if self.survived else f": {self.trouble}{counts}")


def each(attempt: Callable[[Stage, int, Random], Try]) -> Run:
    """A row whose tries have nothing in common but that all is running before each."""

    def run(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
        for number in range(tries):
            stage.ready()
            yield attempt(stage, number, moments)

    return run


@dataclass(frozen=True, kw_only=True)
class Row:
    """A fault of the table on one kind of stage."""

    name: str
    stage: str
    tries: int  # of the full form
    short: int  # of the form that the test suite runs
    run: Run = field(repr=False)
    limit_s: float | None = RECOVERY_S  # of every recovery in the table; None: no limit

    @property
    def label(self) -> str:
        """What the table and `--rows` call it."""
        return f"{self.name}/{self.stage}"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A row that has run."""

    row: Row
    wanted: int
    tries: Sequence[Try]
    seconds: float = 0.0

    @property
    def troubles(self) -> list[str]:
        """Say what did not hold, on any machine; empty when everything did."""
        found = [str(one) for one in self.tries if not one.survived]
        if len(self.tries) < self.wanted:
            found.append(f"only {len(self.tries)} of {self.wanted} tries were made")
        return found

    @property
    def delays(self) -> list[str]:
        """Name the tries that took longer than an otherwise idle machine needs."""
        limit = self.row.limit_s
        late = [t for t in self.tries if limit and t.recovery_s and t.recovery_s > limit]
        found = [f"{one}, which is more than {limit} s" for one in late]
        return found + [f"{one}: {one.slow}" for one in self.tries if one.slow]

    def told(self) -> dict[str, Any]:
        waits = [one.recovery_s for one in self.tries if one.recovery_s is not None]
        digests = [one.equal for one in self.tries if one.equal is not None]
        return {
            "fault": self.row.label,
            "tries": f"{len(self.tries)}/{self.row.tries}",
            "survived": sum(one.survived for one in self.tries),
            "lost": sum(one.lost for one in self.tries),
            "duplicated": sum(one.duplicated for one in self.tries),
            "digest equal": f"{sum(digests)}/{len(digests)}" if digests else "-",
            "median s": round(median(waits), 2) if waits else "-",
            "worst s": round(max(waits), 2) if waits else "-",
            "green": "no" if self.troubles or self.delays else "yes",
            "run s": round(self.seconds),
        }
