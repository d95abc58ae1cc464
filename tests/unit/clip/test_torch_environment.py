"""The number of threads, and the releases of libraries."""

import os
from importlib.metadata import version

import pytest
import torch
from torch.torch_version import TorchVersion

from core.clip.machine import LIBRARIES, environment, thread_count


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


def test_the_build_of_torch_is_recorded_where_its_package_does_not_tell_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "__version__", TorchVersion("2.15.0+cu132"))
    found = environment(torch.device("cpu"), threads=1)
    assert type(found["torch"]) is str  # a TorchVersion equals other texts
    assert found["torch"] == "2.15.0+cu132"
    others = set(LIBRARIES) - {"torch"}
    assert {name: found[name] for name in others} == {name: version(name) for name in others}
