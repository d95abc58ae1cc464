"""The short form of the fault table: every row once or a few times."""

from collections.abc import Callable
from random import Random

import pytest

from tests.faults.catalogue import ROWS
from tests.faults.stage import Stage
from tests.faults.tries import Outcome, Row


@pytest.mark.parametrize("row", [row for row in ROWS if row.short], ids=lambda row: row.label)
def test_row_is_green(row: Row, stage_of: Callable[[str], Stage]) -> None:
    stage = stage_of(row.stage)
    tries = list(row.run(stage, row.short, Random(f"0 {row.label}")))
    outcome = Outcome(row=row, wanted=row.short, tries=tries)
    assert not outcome.troubles, f"{outcome.troubles}\n{stage.site.log[-5000:]}"
