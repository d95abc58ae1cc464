"""Running out of memory, on a GPU or beside one, as a fact that has a name here."""

import gc
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from core.errors import OutOfMemory

FAILURES = (MemoryError, RuntimeError)  # the classes of what `ran_out` may know
# What torch raises besides its own class: for the processor's memory, and from CUDA's libraries.
_WORDS = ("DefaultCPUAllocator", "not enough memory", "CUDA error: out of memory", "ALLOC_FAILED")
_TOLD = 300  # characters


def ran_out(error: Exception) -> bool:
    """Whether an error tells of too little memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


def release(error: Exception) -> None:
    """Free what the frames that an error has left behind still hold, and what nobody holds."""
    traceback.clear_frames(error.__traceback__)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def peak(device: torch.device) -> dict[str, float]:
    """The most that tensors have held of a GPU since this process began, as `device_mib`."""
    if device.type != "cuda":
        return {}
    return {"device_mib": round(torch.cuda.max_memory_allocated(device) / 2**20, 1)}


@contextmanager
def memory_named() -> Iterator[None]:
    """Raise OutOfMemory for whatever tells of too little; what it happened in holds none then."""
    try:
        yield
    except FAILURES as error:
        if not ran_out(error):
            raise
        release(error)
        raise OutOfMemory(allocator=str(error).partition("\n")[0][:_TOLD]) from None
