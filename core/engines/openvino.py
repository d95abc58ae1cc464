"""OpenVINO, in fp32, or in bf16 on CPUs that have instructions for it."""

import tempfile
from collections.abc import Mapping
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

    model = onnx.load_from_string(graph.onnx)
    places = {one.name: one for one in model.graph.initializer if one.name in tensors}
    with tempfile.TemporaryDirectory(prefix="perennial-openvino-") as folder:
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


def _refer(initializer: Any, *, offset: int, length: int) -> None:
    """Have an initializer's bytes in the file of weights."""
    del initializer.external_data[:]
    for key, value in (("location", WEIGHTS), ("offset", offset), ("length", length)):
        initializer.external_data.add(key=key, value=str(value))
