"""The whole table: each row as it ran last, kept between runs in `benchmarks/out/faults.json`.

The full form takes long, so it may be run in parts, and parts beside each other: a row replaces
its former self as soon as it has run. Rows that another machine, or other versions, have left are
dropped.
"""

import fcntl
import json
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from benchmarks.output import OUT, machine_with, show, write
from tests.nightly.faults.modes import SETTINGS
from tests.nightly.faults.tries import Outcome

NAME = "faults"
PACKAGES = ("celery", "psycopg", "redis", "sqlalchemy", "torch")
UNTABLED = {"troubles", "seed", "ended"}  # in the file alone


def record(outcome: Outcome, *, seed: int, order: Iterable[str]) -> None:
    """Keep a row that has just run."""
    with _alone():
        rows = {row["fault"]: row for row in _kept()}
        rows[outcome.row.label] = outcome.told() | {
            "seed": seed,
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "troubles": outcome.troubles + outcome.delays,
        }
        write(NAME, [rows[label] for label in order if label in rows], **_environment())


def print_all() -> None:
    """Print the table as far as it has run."""
    columns = [
        {name: value for name, value in row.items() if name not in UNTABLED} for row in _kept()
    ]
    show(NAME, columns)
    print(f"written to {OUT / NAME}.json")


@contextmanager
def _alone() -> Iterator[None]:
    """No other run reads or writes the file meanwhile."""
    OUT.mkdir(exist_ok=True)
    with (OUT / f"{NAME}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _kept() -> list[dict[str, Any]]:
    try:
        found = json.loads((OUT / f"{NAME}.json").read_text())
    except FileNotFoundError:
        return []
    same = found["machine"] == machine_with(**_environment())
    return list(found["rows"]) if same else []


def _environment() -> dict[str, Any]:
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "lease_seconds": SETTINGS["lease_seconds"],
    }
