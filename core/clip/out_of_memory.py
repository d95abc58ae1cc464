"""Detection of out-of-memory errors of GPU and CPU, raised as OutOfMemory."""

import gc
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from core.errors import OutOfMemory

FAILURES = (MemoryError, RuntimeError)  # the classes that `ran_out` may return True for
# In messages of plain RuntimeErrors: from torch's CPU allocator and from CUDA's libraries.
_MESSAGES = (
    "DefaultCPUAllocator",
    "not enough memory",
    "CUDA error: out of memory",
    "ALLOC_FAILED",
)
_LONGEST = 300  # characters of an error that are kept


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error means that memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _MESSAGES)


def release(error: Exception) -> None:
    """Free what an error's traceback frames hold, unreachable objects and the CUDA cache."""
    traceback.clear_frames(error.__traceback__)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def peak_memory(device: torch.device) -> dict[str, float]:
    """Return the peak GPU memory of tensors in this process, as `device_mib`; {} without a GPU."""
    if device.type != "cuda":
        return {}
    return {"device_mib": round(torch.cuda.max_memory_allocated(device) / 2**20, 1)}


@contextmanager
def raising_out_of_memory() -> Iterator[None]:
    """Raise OutOfMemory in place of any out-of-memory error.

    The memory that the failed frames held is free by then.
    """
    try:
        yield
    except FAILURES as error:
        if not is_out_of_memory(error):
            raise
        release(error)
        raise OutOfMemory(allocator=str(error).partition("\n")[0][:_LONGEST]) from None
