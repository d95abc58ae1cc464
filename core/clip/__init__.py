"""CLIP on open_clip, imported without what would take half as long again.

open_clip imports transformers, if that is installed, for text towers that this project refuses
(`core.domain.registry.architecture`). torchvision imports torch's compiler for a function of its
object detectors, and timm to keep the compiler out of some methods. Here nothing is compiled, so
they are imported as if transformers and `torch.compiler.disable` were missing, and the compiler
not before that function is called. Exports import transformers when they need it.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

import torch


class _Later(ModuleType):
    """A stand-in for a module: each of its functions imports the module when it is called."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*given: Any, **named: Any) -> Any:
            _remove(COMPILER)
            return getattr(import_module(self.__name__), name)(*given, **named)

        return call


COMPILER: Mapping[str, Any] = {
    name: _Later(name) for name in ("torch._dynamo", "torch._dynamo.utils")
}
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
    """Have timm find no way to keep the compiler out, for which it is prepared."""
    compiler: Any = torch.compiler
    disable, compiler.disable = compiler.disable, None
    try:
        yield
    finally:
        compiler.disable = disable


if "open_clip" not in sys.modules:
    with _standing_in(MISSING), _nothing_to_disable():
        with _standing_in(COMPILER):
            import torchvision  # noqa: F401
        import open_clip  # noqa: F401
