"""Inject every fault into real processes and check the outcome: `make test-faults`.

Faults occur at named points and at random moments drawn from `--seed`. Each attempt is printed as
it ends, then the table, which is written to `benchmarks/out/faults.json`. The exit code is 1 if a
row fails.
"""

import argparse
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from itertools import groupby
from random import Random

from benchmarks.output import publish
from tests.nightly.faults.catalogue import ROWS, STAGES
from tests.nightly.faults.stage import Stage
from tests.nightly.faults.tries import Outcome, Row, Try


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen rows and return the exit code."""
    parser = argparse.ArgumentParser(prog="make test-faults ARGS=...", description=__doc__)
    names = [name for row in ROWS for name in (row.name, row.label)]
    parser.add_argument("--rows", nargs="+", default=[], choices=names, metavar="ROW")
    parser.add_argument("--tries", type=int, help="of each row (default: the row's own number)")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments (default: 0)")
    chosen = parser.parse_args(arguments)
    rows = [row for row in ROWS if not chosen.rows or {row.name, row.label} & {*chosen.rows}]
    outcomes = [
        outcome
        for stage, group in groupby(rows, key=lambda row: row.stage)
        for outcome in run_on(stage, list(group), tries=chosen.tries, seed=chosen.seed)
    ]
    publish("faults", [outcome.told() for outcome in outcomes], seed=chosen.seed)
    troubles = [
        f"{outcome.row.label}: {trouble}"
        for outcome in outcomes
        for trouble in outcome.troubles + outcome.delays
    ]
    print(*troubles, sep="\n")
    return 1 if troubles else 0


def run_on(name: str, rows: Sequence[Row], *, tries: int | None, seed: int) -> Iterator[Outcome]:
    """Run rows on one stage, and on a new one after a row that broke it."""
    with ExitStack() as stack:
        stage: Stage | None = None
        for row in rows:
            wanted = row.tries if tries is None else tries
            made: list[Try] = []
            began = time.monotonic()
            try:
                if stage is None:
                    print(f"{name}: starting", flush=True)
                    stage = stack.enter_context(STAGES[name]())
                for one in row.run(stage, wanted, Random(f"{seed} {row.label}")):
                    made.append(one)
                    if len(made) % max(1, wanted // 100) == 0 or not one.survived:
                        print(f"{row.label} {len(made)}/{wanted}: {one}", flush=True)
            except Exception as fault:  # noqa: BLE001 - whatever happened is the outcome
                made.append(Try(what=f"try {len(made) + 1}", trouble=f"{fault!r}"))
                if stage is not None:
                    print(stage.site.log[-5000:], flush=True)
                traceback.print_exception(fault)
                stage = None
                with suppress(Exception):  # the next rows have a stage of their own
                    stack.close()
            seconds = time.monotonic() - began
            yield Outcome(row=row, wanted=wanted, tries=made, seconds=seconds)


if __name__ == "__main__":
    sys.exit(main())
