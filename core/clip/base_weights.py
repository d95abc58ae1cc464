"""Weights of bases, copied into a network one tensor at a time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from core.artifacts.store import BytesCallback
from core.bases.folders import SAFETENSORS
from core.bases.pickled import SIZES, PickledTensor, read_pickled
from core.clip.huggingface import IMAGE_PREFIX, TEXT_PREFIX, Places, huggingface_places

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
# Buffers that a network computes itself, and numbers that OpenAI's archives hold.
_COMPUTED = {"position_ids", "token_type_ids", "attn_mask"}
_SINUSOIDS = "embed_positions.weights"  # of NLLB, which older releases of transformers kept
OPENAI = {"input_resolution", "context_length", "vocab_size"}
_COUNTS = "num_batches_tracked"  # which older files lack


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """A tensor of a file, which is not read yet."""

    name: str
    shape: Sequence[int]
    read: Callable[[], Tensor]


def stored_tensors(paths: Sequence[Path]) -> list[StoredTensor]:
    """Return the tensors of the parts of a base's weights.

    Raises BaseUnknown for pickled ones that cannot be read, or SafetensorError.
    """
    return [
        tensor
        for path in paths
        for tensor in (_safe(path) if path.suffix == SAFETENSORS else _pickled(path))
    ]


def is_openais(tensors: Sequence[StoredTensor]) -> bool:
    """Return whether weights are those that OpenAI published, whose activation is QuickGELU."""
    return {tensor.name for tensor in tensors} >= OPENAI


def fill(network: nn.Module, tensors: Sequence[StoredTensor], moved: BytesCallback) -> None:
    """Copy tensors into a network, which are named as open_clip or transformers name them.

    Raises ValueError if a tensor is missing, has no place, or has another shape.
    """
    known = [one for one in tensors if not _is_computed(one.name)]
    state = network.state_dict()
    of_transformers = any(one.name.startswith((IMAGE_PREFIX, TEXT_PREFIX)) for one in known)
    places: Places = (
        huggingface_places(state)
        if of_transformers
        else {name: [tensor] for name, tensor in state.items()}
    )
    names = [one.name for one in known]
    if surplus := sorted(set(names) - set(places)):
        raise ValueError(f"they have {len(surplus)} tensors too many, such as {surplus[0]!r}")
    if missing := sorted(name for name in set(places) - set(names) if not name.endswith(_COUNTS)):
        raise ValueError(f"they lack {len(missing)} tensors, such as {missing[0]!r}")
    for one in known:
        _copy(one, places[one.name], moved)


def _is_computed(name: str) -> bool:
    return name in OPENAI or name.rpartition(".")[2] in _COMPUTED or name.endswith(_SINUSOIDS)


@torch.no_grad()
def _copy(stored: StoredTensor, parts: Sequence[Tensor], moved: BytesCallback) -> None:
    """Copy a tensor into the parts that it is made of along dimension 0."""
    first, *others = parts
    whole = [sum(len(part) for part in parts), *first.shape[1:]] if others else list(first.shape)
    is_scalar = not others and list(first.shape) in ([], [1])
    shape = list(stored.shape)
    if shape != whole and not (is_scalar and shape in ([], [1])):
        raise ValueError(f"the tensor {stored.name!r} has shape {shape}, and the model's {whole}")
    tensor = stored.read()
    if others:
        for part, found in zip(
            parts, torch.split(tensor, [len(part) for part in parts]), strict=True
        ):
            part.copy_(found)
    else:
        first.copy_(tensor.reshape(first.shape))
    moved(tensor.nbytes)


def _safe(path: Path) -> Iterator[StoredTensor]:
    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
        shapes = {name: file.get_slice(name).get_shape() for name in names}

    def reader(name: str) -> Callable[[], Tensor]:
        def read() -> Tensor:
            with safe_open(path, framework="pt") as file:
                tensor: Tensor = file.get_tensor(name)
            return tensor

        return read

    for name in names:
        yield StoredTensor(name=name, shape=shapes[name], read=reader(name))


def _pickled(path: Path) -> Iterator[StoredTensor]:
    def reader(one: PickledTensor) -> Callable[[], Tensor]:
        return lambda: _numbers(path, one)

    for one in read_pickled(path):
        yield StoredTensor(name=one.name, shape=one.shape, read=reader(one))


def _numbers(path: Path, one: PickledTensor) -> Tensor:
    size = one.elements * SIZES[one.dtype]
    with path.open("rb") as file:
        file.seek(one.offset)
        data = bytearray(file.read(size))
    if len(data) < size:
        raise ValueError(f"the tensor {one.name!r} ends with the file")
    if not data:
        return torch.empty(tuple(one.shape), dtype=_DTYPES[one.dtype])
    flat = torch.frombuffer(data, dtype=_DTYPES[one.dtype])
    return flat.as_strided(tuple(one.shape), tuple(one.stride))
