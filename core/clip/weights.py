"""Weights in and out of the artifact store, tensor by tensor."""

import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor

from core.clip.model import ClipModel
from core.domain.registry.version import TensorEntry, Weights
from core.domain.values import Digest, Json
from core.errors import StorageFull
from core.ports import Artifacts, Moved, nobody

_NAMES = {
    torch.float32: "F32",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}
AT_ONCE = 8  # tensors on their way: hashing, and waiting for a disk or a network, overlap


def publish(
    config: Json,
    state: Mapping[str, Tensor],
    artifacts: Artifacts,
    advance: Callable[[int, int], None],
    moved: Moved = nobody,
) -> Weights:
    """Store every tensor and the list of them; the weights' digest is that list's artifact.

    Half-precision tensors become fp32. `advance(done, total)` is called after each tensor. Raises
    StorageFull, whose `needed_bytes` are what all tensors that are not stored yet take at most.
    """
    entries: list[TensorEntry] = []
    try:
        with _several() as pool:
            stored = pool.map(
                lambda name: _store(name, state[name], artifacts, moved), sorted(state)
            )
            for done, entry in enumerate(stored, start=1):
                entries.append(entry)
                advance(done, len(state))
    except StorageFull as fault:
        needed = published_bytes(state) - sum(entry.size for entry in entries)
        free = fault.facts.get("free_bytes")
        raise StorageFull(fault.message, needed_bytes=needed, free_bytes=free) from fault
    weights = Weights(config=config, tensors=tuple(entries))
    artifacts.put(weights.to_bytes(), moved)
    return weights


def published_bytes(state: Mapping[str, Tensor]) -> int:
    """Return how many bytes the tensors take once they are published."""
    return sum(
        tensor.numel() * (4 if _is_half(tensor) else tensor.itemsize) for tensor in state.values()
    )


def load(
    digest: Digest,
    artifacts: Artifacts,
    device: torch.device | None = None,
    moved: Moved = nobody,
) -> ClipModel:
    """The model of a version's digest. Raises ArtifactMissing or ArtifactCorrupt."""
    weights = Weights.from_bytes(artifacts.get(digest, moved))
    return ClipModel.build(
        weights.config, read_state(weights, artifacts, moved), device or torch.device("cpu")
    )


def read_state(weights: Weights, artifacts: Artifacts, moved: Moved = nobody) -> dict[str, Tensor]:
    """The tensors of some weights by name, each verified against its digest."""

    def read(entry: TensorEntry) -> Tensor:
        return _tensor(entry, artifacts.get(entry.digest, moved))

    with _several() as pool:
        tensors = pool.map(read, weights.tensors)
        return {entry.name: tensor for entry, tensor in zip(weights.tensors, tensors, strict=True)}


@contextmanager
def _several() -> Iterator[ThreadPoolExecutor]:
    """A few threads; what they have not begun is given up when one fails or we are stopped."""
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="tensors")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _is_half(tensor: Tensor) -> bool:
    return tensor.dtype in {torch.float16, torch.bfloat16}


def _store(name: str, tensor: Tensor, artifacts: Artifacts, moved: Moved) -> TensorEntry:
    tensor = tensor.detach().cpu().contiguous()
    if _is_half(tensor):
        tensor = tensor.float()
    data = _little_endian(tensor)
    return TensorEntry(
        name=name,
        dtype=_NAMES[tensor.dtype],
        shape=tuple(tensor.shape),
        digest=artifacts.put(data, moved),
        size=len(data),
    )


def _tensor(entry: TensorEntry, data: bytes) -> Tensor:
    dtype = _DTYPES[entry.dtype]
    if not data:
        return torch.zeros(entry.shape, dtype=dtype)
    buffer = bytearray(_swapped(data, dtype.itemsize))  # writable: torch takes it over
    return torch.frombuffer(buffer, dtype=dtype).reshape(entry.shape)


def _little_endian(tensor: Tensor) -> bytes | memoryview:
    """A tensor's bytes; on nearly every machine they lie so already, and are not copied."""
    values = tensor.reshape(-1).numpy()
    if sys.byteorder == "little":
        return values.view("u1").data
    return _swapped(values.tobytes(), tensor.element_size())


def _swapped(data: bytes, width: int) -> bytes:
    """Bytes between this machine's order and little-endian: the same on nearly every machine."""
    if sys.byteorder == "little" or width == 1:
        return data
    import numpy as np

    return np.frombuffer(data, dtype=f">u{width}").astype(f"<u{width}").tobytes()
