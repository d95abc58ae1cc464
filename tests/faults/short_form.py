"""The short form of the fault table, which the test suite runs: each row once or a few times.

It judges what was lost, doubled or unequal. Recovery times are judged by `make test-faults` alone:
here, other tests run beside, on machines of any speed. Starting a stage takes twenty seconds, so
one stage of each mode has the peculiarities of all: rows that need none must be green with them.
"""

from random import Random

from tests.nightly.faults.catalogue import ROWS
from tests.nightly.faults.stage import Stage
from tests.nightly.faults.tries import Outcome, Row


def rows(*stages: str) -> list[Row]:
    """The rows of some stages that have a short form, stage by stage."""
    return [row for name in stages for row in ROWS if row.stage == name and row.short]


def require_green(row: Row, stage: Stage) -> None:
    """Run a row's short form; fail unless all held."""
    try:
        tries = list(row.run(stage, row.short, Random(f"0 {row.label}")))
        outcome = Outcome(row=row, wanted=row.short, tries=tries)
        assert not outcome.troubles, str(outcome.troubles)
    except AssertionError as error:
        error.add_note(stage.describe())
        raise
