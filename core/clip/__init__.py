"""CLIP on open_clip, imported without what this project never runs.

open_clip imports transformers, if that is installed, for text towers that this project refuses
(`core.domain.registry.architecture`): a second and 20 MB in each process. torchvision imports the
compiler torch._dynamo, and with it sympy, for one test in a function that finds regions of images:
two seconds and 80 MB. Exports import transformers, and optimisers the compiler, when they need it.
"""

import sys
from types import ModuleType


def _is_compile_supported(device_type: str) -> bool:
    from torch._dynamo.utils import is_compile_supported

    return bool(is_compile_supported(device_type))


if "open_clip" not in sys.modules:
    _compiler = ModuleType("torch._dynamo.utils")
    _compiler.is_compile_supported = _is_compile_supported  # type: ignore[attr-defined]
    _stand_ins = {"transformers": None, "torch._dynamo.utils": _compiler}  # None: imports fail
    _stand_ins = {name: one for name, one in _stand_ins.items() if name not in sys.modules}
    sys.modules.update(_stand_ins)  # type: ignore[arg-type]
    try:
        import open_clip  # noqa: F401
    finally:
        for _name in _stand_ins:
            del sys.modules[_name]
