"""A row of the fault table is green if no try was bad, and is kept until it runs again."""

import json
from pathlib import Path

import pytest

from benchmarks import output
from tests.faults import table
from tests.faults.catalogue import ROWS
from tests.faults.modes import RECOVERY_S
from tests.faults.tries import Outcome, Try


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
