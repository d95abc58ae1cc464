"""A loaded version, by whichever engine."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from core.artifacts.store import Artifacts, BytesCallback, ignore_bytes
from core.engines.rules import Engine
from core.engines.tokens import Tokenizer
from core.images.inputs import ImageInput
from core.registry.versions import TensorEntry, Weights

Floats = NDArray[np.float32]


class ServedModel(Protocol):
    """A version that encodes images and texts; features are L2-normalised rows."""

    engine: Engine
    input: ImageInput
    scale: float  # s, the factor that similarities are multiplied by

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of its sentences."""

    def encode_images(self, pixels: NDArray[np.uint8]) -> Floats:
        """Return features (images, width) of pixels (images, height, width, 3)."""

    def encode_tokens(self, tokens: NDArray[np.int64]) -> Floats:
        """Return features (sentences, width) of token ids (sentences, context length)."""


# Tensors of a version without torch.

# As numpy writes them. The order of bytes is that of most machines, so that none are copied.
STORED = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "I32": "<i4", "U8": "u1", "BOOL": "?"}


AT_ONCE = 8  # tensors in transfer, so that hashing overlaps with waiting for disk or network


def read_array(
    entry: TensorEntry, artifacts: Artifacts, moved: BytesCallback = ignore_bytes
) -> NDArray[Any]:
    """Return a tensor, verified against its digest. Raises ArtifactMissing or ArtifactCorrupt."""
    data = bytearray(artifacts.get(entry.digest, moved))  # writable, as torch wants what it shares
    values = np.frombuffer(data, STORED[entry.dtype])
    return values.astype(values.dtype.newbyteorder("="), copy=False).reshape(entry.shape)


def read_arrays(
    weights: Weights, names: Sequence[str], artifacts: Artifacts
) -> Mapping[str, NDArray[Any]]:
    """Return tensors by name, fp64 as fp32 as in networks. Raises what `read_array` raises."""
    entries = {entry.name: entry for entry in weights.tensors}

    def read(name: str) -> NDArray[Any]:
        values = read_array(entries[name], artifacts)
        return values.astype(np.float32) if values.dtype == np.float64 else values

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="tensors") as pool:
        tensors = pool.map(read, names)
        return dict(zip(names, tensors, strict=True))
