"""The short form of the fault table: every row once or a few times.

It judges what was lost, doubled or unequal. Recovery times are judged by `make test-faults` alone:
here, other tests run beside, on machines of any speed.
"""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from benchmarks import output
from tests.faults import table
from tests.faults.catalogue import ROWS
from tests.faults.modes import RECOVERY_S
from tests.faults.stage import Stage
from tests.faults.tries import Outcome, Row, Try


@pytest.mark.parametrize("row", [row for row in ROWS if row.short], ids=lambda row: row.label)
def test_row_is_green(row: Row, stage_of: Callable[[str], Stage]) -> None:
    stage = stage_of(row.stage)
    tries = list(row.run(stage, row.short, Random(f"0 {row.label}")))
    outcome = Outcome(row=row, wanted=row.short, tries=tries)
    assert not outcome.troubles, f"{outcome.troubles}\n{stage.site.log[-5000:]}"


@pytest.mark.parametrize(
    "bad",
    [
        Try(what="it was lost", lost=1),
        Try(what="it is there twice", duplicated=1),
        Try(what="it learned something else", equal=False),
        Try(what="it was refused", trouble="500"),
        Try(what="it took too long", recovery_s=RECOVERY_S + 0.1),
    ],
    ids=lambda bad: bad.what,
)
def test_row_with_one_bad_try_is_not_green(bad: Try) -> None:
    good = Try(what="nothing happened", equal=True, recovery_s=1.0)
    assert Outcome(row=ROWS[0], wanted=2, tries=[good, good]).told()["green"] == "yes"
    assert Outcome(row=ROWS[0], wanted=2, tries=[good, bad]).told()["green"] == "no"
    assert Outcome(row=ROWS[0], wanted=2, tries=[good]).told()["green"] == "no"


def test_row_replaces_its_former_self_and_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (output, table):
        monkeypatch.setattr(module, "OUT", tmp_path)
    order = [row.label for row in ROWS]
    for place, seed in ((1, 7), (0, 8), (1, 9)):
        outcome = Outcome(row=ROWS[place], wanted=1, tries=[Try(what="one")])
        table.record(outcome, seed=seed, order=order)
    rows = json.loads((tmp_path / "faults.json").read_text())["rows"]
    assert [(row["fault"], row["seed"]) for row in rows] == [(order[0], 8), (order[1], 9)]
