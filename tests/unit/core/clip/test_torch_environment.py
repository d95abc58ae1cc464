"""The number of threads."""

import os

import pytest

from core.clip.torch_environment import thread_count


@pytest.mark.parametrize(
    ("threads", "named", "expected"),
    [
        (3, "97", 3),
        (0, "97", 97),
        (0, "97,1", 97),
        (0, "", os.cpu_count()),
        (0, "0", os.cpu_count()),
    ],
)
def test_a_setting_goes_before_openmps_variable_and_that_before_the_cores(
    threads: int, named: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", named)
    assert thread_count(threads) == expected
