"""The environment that a bit-exact repeat of a training run depends on."""

import os
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from core.clip.native_precisions import native_precisions
from core.domain.recipes.choices import Precision

LIBRARIES = ("numpy", "open_clip_torch", "pillow", "safetensors", "timm", "torch", "torchvision")


def thread_count(threads: int) -> int:
    """Return the number of threads for a setting; 0: OMP_NUM_THREADS, or else one per core."""
    named, *_ = os.environ.get("OMP_NUM_THREADS", "").split(",")  # a list names inner levels too
    return threads or (int(named) if named.isdecimal() else 0) or os.cpu_count() or 1


def environment(device: torch.device, threads: int) -> dict[str, str]:
    """Return library versions, device and thread count, as recorded with every version."""
    return {
        **{library: release_of(library) for library in LIBRARIES},
        "python": platform.python_version(),
        "device": f"{device.type} ({_name(device)})",
        "threads": str(thread_count(threads)),
    }


def release_of(library: str) -> str:
    """Return a library's release; torch's as it says itself, with the build.

    The package of a CUDA build from PyPI has the release alone: 2.15.0, of what is 2.15.0+cu132.
    """
    return str(torch.__version__) if library == "torch" else _installed(library)


@cache
def _installed(library: str) -> str:
    return version(library)


def _name(device: torch.device) -> str:
    """Return a GPU's name, or a CPU's with the instruction sets that determine its rounding."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    halves = sorted(native_precisions(device) - {Precision.FP32})
    return ", ".join([_processor(), torch.backends.cpu.get_cpu_capability(), *halves])


def _processor() -> str:
    """Return the CPU's model name if the system reports it, or else its architecture."""
    try:
        facts = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        facts = []
    models = (fact.partition(":")[2].strip() for fact in facts if fact.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine()
