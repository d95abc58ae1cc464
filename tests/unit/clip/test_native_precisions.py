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

AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}


def asked_with(limits: dict[str, str]) -> tuple[list[str], str]:
    """What another process finds under some limits: its precisions, and its device's name."""
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env=os.environ | limits,
        capture_output=True,
        text=True,
        check=True,
    )
    precisions, device = done.stdout.splitlines()
    return precisions.split(), device


def test_a_limit_to_avx2_makes_a_machine_without_bf16_and_of_another_name() -> None:
    precisions, device = asked_with(AVX2)
    assert precisions == ["fp32"]
    assert not {"AVX512", "bf16"} & set(device.strip("()").split(", "))


@pytest.mark.parametrize(
    ("name", "limit"),
    [("ONEDNN_MAX_CPU_ISA", "avx512_core_vnni"), ("DNNL_MAX_CPU_ISA", "AVX512_CORE")],
)
def test_a_limit_to_avx512_leaves_no_bf16_instructions(name: str, limit: str) -> None:
    without = dict.fromkeys(("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"), "")
    precisions, _ = asked_with(without | {name: limit})
    assert "bf16" not in precisions


def test_fp32_is_always_there_and_auto_never() -> None:
    found = native_precisions(torch.device("cpu"))
    assert Precision.FP32 in found
    assert Precision.AUTO not in found


def test_a_device_that_nothing_is_known_of_computes_in_fp32() -> None:
    assert native_precisions(torch.device("meta")) == {Precision.FP32}
