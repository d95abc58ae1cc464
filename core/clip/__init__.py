"""CLIP on open_clip, imported without what would take as long again.

open_clip imports transformers, if that is installed, for text towers that few models have
(`text_towers.py` imports it with the first of them), and timm, for image towers. torchvision
imports torch's compiler for a function of its object detectors, and timm to keep the compiler out
of some methods. Here nothing is compiled, so they are imported as if transformers and
`torch.compiler.disable` were missing; the compiler is imported when that function is first called,
and timm with the first model that needs it. Exports import transformers when they need it.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from threading import Lock
from types import ModuleType
from typing import Any

import torch


class _Later(ModuleType):
    """A stand-in for a module: each of its functions and classes imports it when called."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*given: Any, **named: Any) -> Any:
            return getattr(self._load(), name)(*given, **named)

        return call

    def _load(self) -> ModuleType:
        _remove(LATER)
        return import_module(self.__name__)


class _LaterTimm(_Later):
    """A stand-in for a module of timm, which finds no way to keep the compiler out."""

    def _load(self) -> ModuleType:
        if sys.modules.get(self.__name__, self) is not self:  # imported, or about to be
            return import_module(self.__name__)
        with _timm, _nothing_to_disable():
            return super()._load()


_timm = Lock()  # two models may be loaded at a time
COMPILER: Mapping[str, Any] = {
    name: _Later(name) for name in ("torch._dynamo", "torch._dynamo.utils")
}
TIMM: Mapping[str, Any] = {name: _LaterTimm(name) for name in ("timm", "timm.layers")}
LATER = {**COMPILER, **TIMM}
MISSING: Mapping[str, Any] = {"transformers": None}


@contextmanager
def _standing_in(stand_ins: Mapping[str, Any]) -> Iterator[None]:
    """Have these imported within the block, unless the modules themselves are loaded already."""
    sys.modules.update({**stand_ins, **sys.modules})
    try:
        yield
    finally:
        _remove(stand_ins)


def _remove(stand_ins: Mapping[str, Any]) -> None:
    for name, stand_in in stand_ins.items():
        if name in sys.modules and sys.modules[name] is stand_in:
            del sys.modules[name]


@contextmanager
def _nothing_to_disable() -> Iterator[None]:
    """Take away how timm keeps the compiler out, for which it is prepared."""
    compiler: Any = torch.compiler
    disable, compiler.disable = compiler.disable, None
    try:
        yield
    finally:
        compiler.disable = disable


if "open_clip" not in sys.modules:
    with _standing_in(COMPILER):
        import torchvision  # noqa: F401
    with _standing_in({**MISSING, **TIMM}):
        import open_clip  # noqa: F401
