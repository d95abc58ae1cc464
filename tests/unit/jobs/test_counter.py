"""The bucket that a duration is counted in."""

import pytest

from core.jobs.rules import duration


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [
        (0.0, "0.1"),
        (0.1, "0.1"),
        (0.11, "0.5"),
        (60.0, "60.0"),
        (60.5, "300.0"),
        (43200.0, "43200.0"),
        (43201.0, "inf"),
    ],
)
def test_a_duration_counts_once_in_the_first_bucket_that_holds_it(
    seconds: float, bucket: str
) -> None:
    labels = {"type": "update", "phase": "training"}
    assert list(duration(labels, seconds)) == [
        ({"type": "update", "phase": "training", "le": bucket}, 1.0),
        ({"type": "update", "phase": "training", "sum": ""}, seconds),
    ]
    assert labels == {"type": "update", "phase": "training"}
