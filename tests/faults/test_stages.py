"""What holds on a stage: the short form of the fault table, and what must not outlive what.

Every row runs once or a few times. It judges what was lost, doubled or unequal. Recovery times are
judged by `make test-faults` alone: here, other tests run beside, on machines of any speed.
"""

from collections.abc import Callable
from random import Random

import psutil
import pytest

from core.domain.jobs.job import JobStatus
from core.use_cases.jobs.queue import cancel_job
from tests.faults import line
from tests.faults.catalogue import ROWS
from tests.faults.stage import START_S, Stage, child_of, until
from tests.faults.tries import Outcome, Row


def test_cancelled_job_stops_within_a_step_and_leaves_no_version(production: Stage) -> None:
    job = production.order()
    until(lambda: production.find(job).phase == "training")

    cancel_job(production.platform, job)

    ended = production.wait_for_end(job)
    assert ended.status is JobStatus.CANCELLED
    assert ended.checkpoint is None
    assert not line.versions_of(production.platform, ended)


def test_killed_supervisor_takes_its_child_with_it(production: Stage) -> None:
    supervisor = production.supervisors()[0]
    child = child_of(supervisor)
    assert child is not None

    supervisor.kill()

    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_closed_standard_input_ends_the_supervisor(production: Stage) -> None:
    supervisor = production.supervisors()[0]
    child = child_of(supervisor)
    assert child is not None
    process = production.started(supervisor)
    assert process.stdin is not None

    process.stdin.close()

    assert process.wait(START_S) == 0
    assert not child.is_running()


@pytest.mark.parametrize("row", [row for row in ROWS if row.short], ids=lambda row: row.label)
def test_row_is_green(row: Row, stage_of: Callable[[str], Stage]) -> None:
    stage = stage_of(row.stage)
    tries = list(row.run(stage, row.short, Random(f"0 {row.label}")))
    outcome = Outcome(row=row, wanted=row.short, tries=tries)
    assert not outcome.troubles, f"{outcome.troubles}\n{stage.site.log[-5000:]}"
