"""The rows of the fault table on the embedded service."""

from collections.abc import Iterator

import pytest

from tests.faults import short_form
from tests.nightly.faults.rows.disk_full import cramped
from tests.nightly.faults.stage import Stage
from tests.nightly.faults.tries import Row


@pytest.fixture(scope="module")
def running() -> Iterator[Stage]:
    """API, worker and inference on a small disk."""
    with cramped() as stage:
        yield stage


@pytest.mark.parametrize("row", short_form.rows("cramped", "embedded"), ids=lambda row: row.label)
def test_row_is_green(row: Row, running: Stage) -> None:
    short_form.require_green(row, running)
