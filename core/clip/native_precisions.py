"""The precisions that a device has instructions for and torch may use."""

import os
from typing import Any

import torch

from core.domain.recipes.choices import Precision

# ISA limits under which oneDNN accepts bf16 but computes it with fp32 instructions.
_WITHOUT_BF16 = frozenset({"AVX512_CORE", "AVX512_CORE_VNNI"})


def native_precisions(device: torch.device) -> frozenset[Precision]:
    """Return the precisions that `device` computes in natively; fp32 is always one of them.

    A precision without instructions works too, an order of magnitude slower.
    """
    match device.type:
        case "cuda":
            with torch.cuda.device(device):
                bf16, fp16 = torch.cuda.is_bf16_supported(including_emulation=False), True
        case "cpu" if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            bf16, fp16 = _cpu_has_bf16(), _one_dnn("_is_mkldnn_fp16_supported")
        case _:
            bf16 = fp16 = False
    halves = {Precision.BF16: bf16, Precision.FP16: fp16}
    return frozenset({Precision.FP32, *(precision for precision, has in halves.items() if has)})


def _cpu_has_bf16() -> bool:
    """Return whether the CPU has AVX512-BF16 or AMX and no ISA limit keeps oneDNN from using it.

    Both checks are needed: oneDNN accepts bf16 from AVX-512 on, with or without such instructions,
    and the CPU's flags do not reflect ISA limits.
    """
    limits = (os.environ.get(f"{name}_MAX_CPU_ISA", "") for name in ("ONEDNN", "DNNL"))
    limit = next(filter(None, limits), "")
    return (
        (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
        and _one_dnn("_is_mkldnn_bf16_supported")
        and limit.upper() not in _WITHOUT_BF16
    )


def _one_dnn(check: str) -> bool:
    supported: Any = getattr(torch.ops.mkldnn, check)
    return bool(supported())
