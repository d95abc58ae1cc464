"""The rows of the fault table on servers, and what must not outlive what."""

from collections.abc import Iterator

import pytest

from tests.faults import short_form
from tests.nightly.faults.rows.clock import HOUR_S, faked
from tests.nightly.faults.rows.servers import stuffed
from tests.nightly.faults.stage import Stage, child_of
from tests.nightly.faults.tries import Row
from tests.support.processes import wait_for_exit


@pytest.fixture(scope="module")
def running() -> Iterator[Stage]:
    """API, PostgreSQL on a small disk, Redis and two workers, one of them an hour ahead."""
    with stuffed(second=faked(HOUR_S)) as stage:
        yield stage


# The disk comes first: later it would have room in files that the database keeps.
@pytest.mark.parametrize(
    "row", short_form.rows("stuffed", "production", "ahead"), ids=lambda row: row.label
)
def test_row_is_green(row: Row, running: Stage) -> None:
    short_form.require_green(row, running)


def test_closed_standard_input_ends_the_supervisor(running: Stage) -> None:
    running.ready()
    supervisor = running.supervisors()[0]
    child = child_of(supervisor)
    assert child is not None
    process = running.started(supervisor)
    assert process.stdin is not None

    process.stdin.close()

    assert wait_for_exit(process) == 0
    assert not child.is_running()
