"""Weights in the artifact store, one artifact per tensor."""

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
from core.ports import Artifacts, BytesCallback, ignore_bytes

_NAMES = {
    torch.float32: "F32",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}
AT_ONCE = 8  # tensors in transfer, so that hashing overlaps with waiting for disk or network


def publish(
    config: Json,
    state: Mapping[str, Tensor],
    artifacts: Artifacts,
    advance: Callable[[int, int], None],
    moved: BytesCallback = ignore_bytes,
) -> Weights:
    """Store every tensor and the list of them; return the weights, whose digest is the list's.

    Half-precision tensors become fp32. `advance(done, total)` is called after each tensor. Raises
    StorageFull, whose `needed_bytes` is the most that the tensors not stored yet can take.
    """
    entries: list[TensorEntry] = []
    try:
        with _transfer_pool() as pool:
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
    """Return the number of bytes that the tensors take once published."""
    return sum(
        tensor.numel() * (4 if _is_half(tensor) else tensor.itemsize) for tensor in state.values()
    )


def load(
    digest: Digest,
    artifacts: Artifacts,
    device: torch.device | None = None,
    moved: BytesCallback = ignore_bytes,
) -> ClipModel:
    """Load the model of a version's digest. Raises ArtifactMissing or ArtifactCorrupt."""
    weights = Weights.from_bytes(artifacts.get(digest, moved))
    return ClipModel.build(
        weights.config, read_state(weights, artifacts, moved), device or torch.device("cpu")
    )


def read_state(
    weights: Weights, artifacts: Artifacts, moved: BytesCallback = ignore_bytes
) -> dict[str, Tensor]:
    """Return the tensors of weights by name, each verified against its digest."""

    def read(entry: TensorEntry) -> Tensor:
        return _tensor(entry, artifacts.get(entry.digest, moved))

    with _transfer_pool() as pool:
        tensors = pool.map(read, weights.tensors)
        return {entry.name: tensor for entry, tensor in zip(weights.tensors, tensors, strict=True)}


@contextmanager
def _transfer_pool() -> Iterator[ThreadPoolExecutor]:
    """Yield a thread pool; transfers not begun are cancelled on an error or a stop request."""
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="tensors")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _is_half(tensor: Tensor) -> bool:
    return tensor.dtype in {torch.float16, torch.bfloat16}


def _store(name: str, tensor: Tensor, artifacts: Artifacts, moved: BytesCallback) -> TensorEntry:
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
    buffer = bytearray(_swapped(data, dtype.itemsize))  # writable, because the tensor shares it
    return torch.frombuffer(buffer, dtype=dtype).reshape(entry.shape)


def _little_endian(tensor: Tensor) -> bytes | memoryview:
    """Return a tensor's bytes in little-endian order; a little-endian machine makes no copy."""
    values = tensor.reshape(-1).numpy()
    if sys.byteorder == "little":
        return values.view("u1").data
    return _swapped(values.tobytes(), tensor.element_size())


def _swapped(data: bytes, width: int) -> bytes:
    """Convert bytes between native and little-endian order, which are equal on most machines."""
    if sys.byteorder == "little" or width == 1:
        return data
    import numpy as np

    return np.frombuffer(data, dtype=f">u{width}").astype(f"<u{width}").tobytes()
