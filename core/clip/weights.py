"""Weights in and out of the artifact store, tensor by tensor."""

import sys
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from core.clip.model import ClipModel
from core.domain.values import Digest, Json
from core.domain.version import TensorEntry, Weights
from core.ports import Artifacts

_NAMES = {
    torch.float32: "F32",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}


def publish(
    config: Json,
    state: Mapping[str, Tensor],
    artifacts: Artifacts,
    advance: Callable[[int, int], None],
) -> Weights:
    """Store every tensor and the list of them; the weights' digest is that list's artifact.

    Half-precision tensors become fp32. `advance(done, total)` is called after each tensor.
    """
    entries = []
    for done, name in enumerate(sorted(state), start=1):
        entries.append(_store(name, state[name], artifacts))
        advance(done, len(state))
    weights = Weights(config=config, tensors=tuple(entries))
    artifacts.put(weights.to_bytes())
    return weights


def load(digest: Digest, artifacts: Artifacts, device: torch.device | None = None) -> ClipModel:
    """The model of a version's digest. Raises ArtifactMissing or ArtifactCorrupt."""
    weights = Weights.from_bytes(artifacts.get(digest))
    return ClipModel.build(
        weights.config, read_state(weights, artifacts), device or torch.device("cpu")
    )


def read_state(weights: Weights, artifacts: Artifacts) -> dict[str, Tensor]:
    """The tensors of some weights by name, each verified against its digest."""
    return {entry.name: _tensor(entry, artifacts.get(entry.digest)) for entry in weights.tensors}


def _store(name: str, tensor: Tensor, artifacts: Artifacts) -> TensorEntry:
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype in {torch.float16, torch.bfloat16}:
        tensor = tensor.float()
    data = _swapped(tensor.numpy().tobytes(), tensor.element_size())
    return TensorEntry(
        name=name,
        dtype=_NAMES[tensor.dtype],
        shape=tuple(tensor.shape),
        digest=artifacts.put(data),
        size=len(data),
    )


def _tensor(entry: TensorEntry, data: bytes) -> Tensor:
    dtype = _DTYPES[entry.dtype]
    if not data:
        return torch.zeros(entry.shape, dtype=dtype)
    buffer = bytearray(_swapped(data, dtype.itemsize))  # writable: torch takes it over
    return torch.frombuffer(buffer, dtype=dtype).reshape(entry.shape)


def _swapped(data: bytes, width: int) -> bytes:
    """Bytes between this machine's order and little-endian: the same on nearly every machine."""
    if sys.byteorder == "little" or width == 1:
        return data
    import numpy as np

    return np.frombuffer(data, dtype=f">u{width}").astype(f"<u{width}").tobytes()
