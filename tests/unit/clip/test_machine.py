"""A machine's precisions and threads, and batches that are made ahead."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from core.clip.machine import (
    AUTO,
    Prefetcher,
    devices_for,
    find_devices,
    native_precisions,
)
from core.clip.model import ClipModel
from core.errors import ArtifactMissing, CancelRequested, UnsafeConfiguration
from core.recipes.fields import Precision
from core.settings import Settings, thread_count
from tests.support.learning.tiny_clip import tiny_clip


def numbered(step: int) -> Tensor:
    return torch.tensor([step])


def threads_of_ahead() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ahead")]


@pytest.mark.parametrize(("first", "last", "depth"), [(0, 5, 2), (3, 5, 2), (0, 5, 9), (4, 4, 2)])
def test_every_step_gets_its_batch_in_order(first: int, last: int, depth: int) -> None:
    with Prefetcher(numbered, first, last, depth=depth) as ahead:
        assert [int(ahead.take()) for _ in range(first, last)] == list(range(first, last))
        with pytest.raises(IndexError):
            ahead.take()
    assert not threads_of_ahead()


def test_batches_are_made_before_they_are_asked_for() -> None:
    made = threading.Semaphore(0)

    def make(step: int) -> Tensor:
        made.release()
        return numbered(step)

    with Prefetcher(make, 0, 9, depth=2) as ahead:
        assert made.acquire(timeout=10)
        assert made.acquire(timeout=10)
        assert not made.acquire(timeout=0.05)  # and no further: memory is bounded
        ahead.take()
        assert made.acquire(timeout=10)


def test_an_error_is_raised_where_its_batch_is_taken() -> None:
    def make(step: int) -> Tensor:
        if step == 1:
            raise ArtifactMissing(digest="gone")
        return numbered(step)

    def run() -> None:
        with Prefetcher(make, 0, 9) as ahead:
            assert int(ahead.take()) == 0
            ahead.take()

    with pytest.raises(ArtifactMissing):
        run()
    assert not threads_of_ahead()


@pytest.mark.parametrize("stop", [CancelRequested, KeyboardInterrupt])
def test_an_interrupted_run_leaves_no_thread(stop: type[BaseException]) -> None:
    made = []

    def make(step: int) -> Tensor:
        time.sleep(0.01)
        made.append(step)
        return numbered(step)

    def run() -> None:
        with Prefetcher(make, 0, 1000, depth=500) as ahead:
            ahead.take()
            raise stop

    with pytest.raises(stop):
        run()
    assert not threads_of_ahead()
    assert len(made) < 50  # what was being made, not what was ordered


ASK = """
import sys
sys.modules["open_clip"] = None  # not asked for anything, and slow to import
from core.loading import loading
with loading():
    import torch
    from core.clip.machine import environment
    from core.clip.machine import native_precisions
print(*sorted(native_precisions(torch.device("cpu"))))
print(environment(torch.device("cpu"), 1)["device"])
"""

LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")


def test_a_limit_leaves_no_bf16_instructions_and_gives_the_machine_another_name() -> None:
    limits = {LIMITS[0]: "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env=os.environ | dict.fromkeys(LIMITS, "") | limits,
        capture_output=True,
        text=True,
        check=True,
    )
    precisions, device = done.stdout.splitlines()
    assert "bf16" not in {*precisions.split(), *device.strip("()").split(", ")}
    assert precisions == "fp32"
    assert "AVX512" not in device


@pytest.mark.parametrize(
    ("setting", "gpus", "expected", "reason"),
    [
        (AUTO, 0, ["cpu"], "no GPU found"),
        (AUTO, 1, ["cuda:0", "cpu"], "1 GPU found"),
        (AUTO, 2, ["cuda:0", "cuda:1", "cpu"], "2 GPUs found, the first is used"),
        ("cpu", 2, ["cpu"], "PERENNIAL_DEVICE is cpu"),
        ("cuda:1", 2, ["cuda:1"], "PERENNIAL_DEVICE is cuda:1"),
    ],
)
def test_auto_takes_the_first_gpu_and_a_named_device_is_the_only_one(
    setting: str, gpus: int, expected: list[str], reason: str
) -> None:
    found = devices_for(setting, gpus, "no GPU found")
    assert [str(one) for one in (found.chosen, *found.others)] == expected
    assert found.reason == reason


def test_a_gpu_that_is_named_and_not_there_is_refused_with_the_reason() -> None:
    for setting, gpus, why in (("cuda", 0, "no GPU found"), ("cuda:2", 2, "")):
        reason = why or "torch finds 2 GPUs"
        with pytest.raises(UnsafeConfiguration, match=f"DEVICE is {setting}: {reason}"):
            devices_for(setting, gpus, why)


def test_a_worker_tells_which_device_it_found_and_its_name() -> None:
    found = find_devices(AUTO)
    assert (found.chosen.type == "cuda") is torch.cuda.is_available()
    assert found.facts["device"].startswith(f"{found.chosen} (")
    assert "GPU" in found.facts["device_reason"]
    assert Settings.model_fields["device"].default == AUTO
    for wrong in ("gpu", "cuda:x", "mps"):
        with pytest.raises(ValidationError, match="device"):
            Settings(device=wrong)


def test_a_device_that_nothing_is_known_of_computes_in_fp32() -> None:
    assert native_precisions(torch.device("meta")) == {Precision.FP32}


def test_fp32_is_not_rounded_to_tf32_in_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)  # as torch has it
    model = tiny_clip()
    ClipModel.build(model.config, model.network.state_dict(), torch.device("cpu"))
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


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
