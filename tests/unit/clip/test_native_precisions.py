"""Which arithmetic a device has instructions for, as torch may use it."""

import os
import subprocess
import sys

import pytest
import torch

from core.clip.machine import native_precisions
from core.recipes.fields import Precision

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


@pytest.mark.parametrize(
    "limits",
    [
        {LIMITS[0]: "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
        {LIMITS[0]: "avx512_core_vnni"},
        {LIMITS[1]: "AVX512_CORE"},
    ],
)
def test_a_limit_leaves_no_bf16_instructions_and_gives_the_machine_another_name(
    limits: dict[str, str],
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env=os.environ | dict.fromkeys(LIMITS, "") | limits,
        capture_output=True,
        text=True,
        check=True,
    )
    precisions, device = done.stdout.splitlines()
    assert "bf16" not in {*precisions.split(), *device.strip("()").split(", ")}
    if "ATEN_CPU_CAPABILITY" in limits:
        assert precisions == "fp32"
        assert "AVX512" not in device


def test_a_device_that_nothing_is_known_of_computes_in_fp32() -> None:
    assert native_precisions(torch.device("meta")) == {Precision.FP32}
