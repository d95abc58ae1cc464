"""The device of a worker: its batches, its precisions, its memory and its environment."""

import gc
import os
import platform
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

import torch

from core.errors import OutOfMemory, UnsafeConfiguration
from core.recipes.fields import Precision
from core.settings import thread_count

# Prefetching of batches: the next ones are decoded while the current one is computed on.

CPU = torch.device("cpu")


class Data(Protocol):
    """A tensor, or several that are moved together."""

    def pin_memory(self) -> Self:
        """Return the data in page-locked memory."""

    def to(self, device: torch.device, *, non_blocking: bool) -> Self:
        """Return the data on a device."""


_D = TypeVar("_D", bound=Data)


class Prefetcher(Generic[_D]):
    """A thread that makes the batches of steps `first` to `last - 1`, up to `depth` ahead.

    `make(step)` must depend on the step alone: then the batches equal those of direct calls,
    wherever a run is resumed. Decoding and hashing release the GIL, so one thread suffices while
    torch computes. Memory is bounded by `depth` batches besides the one taken. For a CUDA device,
    batches wait in pinned memory and are copied while it computes.
    """

    def __init__(
        self,
        make: Callable[[int], _D],
        first: int,
        last: int,
        *,
        depth: int = 2,
        device: torch.device = CPU,
    ) -> None:
        self.waited_s = 0.0  # total time that `take` has waited for data
        self._make = make
        self._device = device
        self._steps = iter(range(first, last))
        self._depth = depth
        self._pending: deque[Future[_D]] = deque()

    def __enter__(self) -> Self:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead")
        for _ in range(self._depth):
            self._submit_next()
        return self

    def __exit__(self, *_: object) -> None:
        """End the thread once the batch in progress is made; drop the batches not begun."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._pending.clear()

    def take(self) -> _D:
        """Return the next step's batch.

        Raises what making it raised, or IndexError after the last step.
        """
        pending = self._pending.popleft()
        began = time.perf_counter()
        batch = pending.result()
        self.waited_s += time.perf_counter() - began
        self._submit_next()
        return batch.to(self._device, non_blocking=True)

    def _submit_next(self) -> None:
        for step in self._steps:
            self._pending.append(self._thread.submit(self._prepare, step))
            return

    def _prepare(self, step: int) -> _D:
        batch = self._make(step)
        return batch.pin_memory() if self._device.type == "cuda" else batch


# The precisions that a device has instructions for and torch may use.

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


# Detection of out-of-memory errors of GPU and CPU, raised as OutOfMemory.

FAILURES = (MemoryError, RuntimeError)  # the classes that `is_out_of_memory` may return True for
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


# The device of a process: the one that its setting names, or the best that torch finds.

AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class Devices:
    """The device that a process computes on, and why; a run may go on on others of its machine."""

    chosen: torch.device
    others: tuple[torch.device, ...] = ()
    reason: str

    @property
    def facts(self) -> dict[str, str]:
        """The device with its name and the reason, as a worker tells them."""
        return {
            "device": f"{self.chosen} ({_name(self.chosen)})",
            "device_reason": self.reason,
        }


def find_devices(setting: str) -> Devices:
    """Return this machine's devices for a setting. Raises UnsafeConfiguration as `devices_for`."""
    return devices_for(setting, *_usable_gpus(run_one=setting == AUTO))


def devices_for(setting: str, gpus: int, why_none: str) -> Devices:
    """Return the devices for a setting on a machine with so many GPUs that torch can use.

    Raises UnsafeConfiguration if the setting names a GPU that is not there.
    """
    if setting != AUTO:
        named, reason = torch.device(setting), f"PERENNIAL_DEVICE is {setting}"
        if named.type == "cuda" and (named.index or 0) >= gpus:
            raise UnsafeConfiguration(f"{reason}: {why_none or f'torch finds {gpus} GPUs'}.")
        return Devices(chosen=named, reason=reason)
    if not gpus:
        return Devices(chosen=CPU, reason=why_none)
    first, *others = (torch.device("cuda", number) for number in range(gpus))
    found = "1 GPU found" if gpus == 1 else f"{gpus} GPUs found, the first is used"
    return Devices(chosen=first, others=(*others, CPU), reason=found)


def _usable_gpus(*, run_one: bool) -> tuple[int, str]:
    """Return how many GPUs torch can use, and why it can use none.

    A GPU that is too old for this build of torch is found and then fails at its first kernel.
    `run_one` runs that kernel on the first GPU, of which this process takes some memory then.
    """
    if not torch.cuda.is_available():  # which asks for AMD's GPUs as well
        built = torch.version.cuda or torch.version.hip
        return 0, "no GPU found" if built else "no GPU found: this torch is built without CUDA"
    try:
        if run_one:
            torch.ones(1, device="cuda").add(1).item()
    except RuntimeError as error:
        return 0, f"the GPU cannot be used: {str(error).splitlines()[0][:_LONGEST]}"
    return torch.cuda.device_count(), ""


# The environment that a bit-exact repeat of a training run depends on.

LIBRARIES = ("numpy", "open_clip_torch", "pillow", "safetensors", "timm", "torch", "torchvision")


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


_installed = cache(version)


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
