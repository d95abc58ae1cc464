"""OpenVINO, in fp32, or in bf16 on CPUs that have instructions for it."""

import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.engines.graph_model import OpenTower, Run
from core.engines.rules import WEIGHTS, Graph, Tower
from core.engines.served import Floats
from core.registry.versions import ServingPrecision

# Inputs of a call. What computing more takes is given back after it: else each version keeps it,
# beyond the limit on loaded versions.
LARGEST_KEPT = 16

_PREFIX, _LEFT_S = "perennial-openvino-", 3600.0  # of folders of weights; their greatest age

_HINTS: Mapping[ServingPrecision, str] = {
    ServingPrecision.FP32: "f32",
    ServingPrecision.BF16: "bf16",
}


def opener(precision: ServingPrecision) -> OpenTower:
    """Return what loads towers in a precision."""

    def open_tower(
        tower: Tower, graph: Graph, tensors: Mapping[str, NDArray[Any]], *, threads: int
    ) -> Run:
        del tower  # its inputs need no name
        compiled = _compile(graph, tensors, precision, threads)
        request, lock = compiled.create_infer_request(), Lock()

        def run(inputs: NDArray[Any]) -> Floats:
            with lock:  # a request has one place for its output
                found: Floats = request.infer([inputs])[0].copy()
                if len(inputs) > LARGEST_KEPT:
                    compiled.release_memory()
            return found

        return run

    return open_tower


def has_bf16() -> bool:
    """Return whether this CPU has instructions for bf16: without them OpenVINO computes in fp32."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@cache
def _core() -> Any:
    import openvino

    return openvino.Core()


def _compile(
    graph: Graph, tensors: Mapping[str, NDArray[Any]], precision: ServingPrecision, threads: int
) -> Any:
    """Return a compiled tower. OpenVINO reads weights from a file alone, which lasts as long."""
    import onnx

    _tidy()
    model = onnx.load_from_string(graph.onnx)
    places = {one.name: one for one in model.graph.initializer if one.name in tensors}
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder:
        with (Path(folder) / WEIGHTS).open("wb") as file:
            for name, values in tensors.items():
                data = np.ascontiguousarray(values)
                _refer(places[name], offset=file.tell(), length=data.nbytes)
                file.write(data.data)
        written = Path(folder) / "tower.onnx"
        written.write_bytes(model.SerializeToString())
        settings = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # the decoders and the API share the cores
            "ENABLE_MMAP": False,  # of a file that is about to go
        }
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        core = _core()
        return core.compile_model(core.read_model(written), "CPU", settings)


def _tidy() -> None:
    """Delete the files that processes which were killed have left: none is written for so long."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another process has deleted it
            if time.time() - folder.stat().st_mtime > _LEFT_S:
                shutil.rmtree(folder, ignore_errors=True)


def _refer(initializer: Any, *, offset: int, length: int) -> None:
    """Have an initializer's bytes in the file of weights."""
    del initializer.external_data[:]
    for key, value in (("location", WEIGHTS), ("offset", offset), ("length", length)):
        initializer.external_data.add(key=key, value=str(value))
