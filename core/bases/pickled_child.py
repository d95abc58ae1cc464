"""The program of the process that reads a file of pickled weights.

It is confined and exchanges `core.images.frames`. The file is open before it confines itself, so
that it can open no other one.
"""

import encodings.cp437  # noqa: F401 - of names in archives; later, no module can be imported
import io
import json
import pickle
import socket
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from core.bases.pickled import MOST_PICKLE_BYTES, READ, REFUSED, SIZES
from core.images.confinement import confine
from core.images.frames import OK, READY, Reply, frame, serve

_STORAGES = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}
_LOCAL_HEADER = struct.Struct("<26xHH")  # of a file in an archive: lengths of its name and extra
_PREFIX = "module."  # of the names that training on several GPUs writes
_DEEPEST = 100  # modules in one another
_BROKEN = (
    *(pickle.UnpicklingError, zipfile.BadZipFile, struct.error, LookupError, AttributeError),
    *(TypeError, ValueError, ArithmeticError, NotImplementedError, RecursionError, ImportError),
    OSError,
    EOFError,
)


class _Refused(Exception):
    """The file is not one of weights."""


def main() -> None:
    """Read a file's tensors. Arguments: bytes of memory, seconds, the file's descriptor."""
    memory, seconds, descriptor = (int(value) for value in sys.argv[1:4])
    with (
        open(descriptor, "rb", buffering=0) as file,  # noqa: PTH123 - a descriptor
        socket.socket(fileno=0) as parent,
    ):
        layers = confine(memory)
        parent.sendall(frame(READY, ",".join(layers).encode()))
        serve(parent, seconds, {READ: lambda _: read(file)})


def read(file: io.RawIOBase) -> Reply:
    """Return the tensors of a file as JSON, or why there are none."""
    try:
        return OK, json.dumps(list(_described(file))).encode()
    except _Refused as error:
        return REFUSED, str(error).encode()
    except _BROKEN as error:
        return REFUSED, f"it is damaged ({type(error).__name__})".encode()


@dataclass(frozen=True, kw_only=True)
class _Storage:
    dtype: str
    key: str


@dataclass(frozen=True, kw_only=True)
class _Tensor:
    storage: _Storage
    start: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class _Module:
    """Stands for a module of TorchScript, whose attributes it gets."""


def _tensor(storage: _Storage, start: int, shape: Any, stride: Any, *_: object) -> _Tensor:
    return _Tensor(storage=storage, start=start, shape=tuple(shape), stride=tuple(stride))


def _first(value: object, *_: object) -> object:
    return value


# All that a pickle may name. Each of these makes a value and does nothing else.
_ALLOWED: Mapping[tuple[str, str], Callable[..., object]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "Size"): tuple,
    ("torch", "device"): _first,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _first,
    **{
        ("torch.jit._pickle", name): _first
        for name in ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist")
    },
    ("torch.jit._pickle", "restore_type_tag"): _first,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if found := _ALLOWED.get((module, name)):
            return found
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if module.partition(".")[0] == "__torch__":
            return _Module
        raise _Refused(
            f"it names {f'{module}.{name}'[:100]!r}, which loading could run as code; save the "
            "state dict alone"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        _, dtype, key, *_ = pid
        if dtype not in SIZES:
            raise _Refused("it has a kind of numbers that is not read")
        return _Storage(dtype=dtype, key=str(key))


def _described(file: io.RawIOBase) -> Iterator[list[Any]]:
    """Yield name, dtype, shape, stride, offset and number of elements of each tensor."""
    if not zipfile.is_zipfile(file):
        raise _Refused("torch before 1.6 wrote it, or something else: load and save it again")
    with zipfile.ZipFile(file) as archive:
        infos = {info.filename: info for info in archive.infolist()}
        folder = next((name[:-8] for name in infos if name.endswith("/data.pkl")), None)
        if folder is None:
            raise _Refused("it is no file that torch has saved")
        if (order := infos.get(f"{folder}byteorder")) and archive.read(order)[:3] == b"big":
            raise _Refused("a machine with the other order of bytes wrote it")
        pickled = infos[f"{folder}data.pkl"]
        if pickled.file_size > MOST_PICKLE_BYTES:
            raise _Refused("its pickle is too large")
        found = _Unpickler(io.BytesIO(archive.read(pickled))).load()
        for name, tensor in _tensors(found):
            info = infos[f"{folder}data/{tensor.storage.key}"]
            yield _row(file, name, tensor, info)


def _row(file: io.RawIOBase, name: str, tensor: _Tensor, info: zipfile.ZipInfo) -> list[Any]:
    if info.compress_type != zipfile.ZIP_STORED:
        raise _Refused("its numbers are compressed")
    file.seek(info.header_offset)
    begin = info.header_offset + 30 + sum(_LOCAL_HEADER.unpack(file.read(30) or b""))
    size = SIZES[tensor.storage.dtype]
    last = sum((side - 1) * step for side, step in zip(tensor.shape, tensor.stride, strict=True))
    elements = last + 1 if all(tensor.shape) else 0
    if tensor.start < 0 or (tensor.start + elements) * size > info.file_size:
        raise _Refused(f"the tensor {name[:100]!r} has more elements than are stored")
    begin += tensor.start * size
    return [name, tensor.storage.dtype, tensor.shape, tensor.stride, begin, elements]


def _tensors(found: Any) -> list[tuple[str, _Tensor]]:
    """Return the tensors of a state dict, a checkpoint that has one, or a module."""
    if isinstance(found, _Module):
        return list(_of_module(found, "", 0))
    if not isinstance(found, dict):
        raise _Refused("it contains no state dict")
    state = found.get("state_dict", found)
    if not isinstance(state, dict):
        raise _Refused("its state_dict is none")
    named = [(str(name), value) for name, value in state.items() if isinstance(value, _Tensor)]
    if named and all(name.startswith(_PREFIX) for name, _ in named):
        named = [(name.removeprefix(_PREFIX), value) for name, value in named]
    return named


def _of_module(module: _Module, prefix: str, depth: int) -> Iterator[tuple[str, _Tensor]]:
    if depth > _DEEPEST:
        raise _Refused("its modules are nested too deeply")
    for name, value in vars(module).items():
        if isinstance(value, _Module):
            yield from _of_module(value, f"{prefix}{name}.", depth + 1)
        elif isinstance(value, _Tensor):
            yield f"{prefix}{name}", value
