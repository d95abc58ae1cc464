"""What a bit-exact repeat depends on besides the task."""

import os
import platform
from importlib.metadata import version

import torch

LIBRARIES = ("numpy", "open_clip_torch", "pillow", "safetensors", "timm", "torch", "torchvision")


def thread_count(threads: int) -> int:
    """The threads a setting asks for; 0 means one per core."""
    return threads or os.cpu_count() or 1


def environment(device: torch.device, threads: int) -> dict[str, str]:
    """Library versions, device and thread count, as recorded with every version."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        **{library: version(library) for library in LIBRARIES},
        "python": platform.python_version(),
        "device": f"{device.type} ({name})",
        "threads": str(thread_count(threads)),
    }
