"""ONNX Runtime: a tower's graph with a version's own tensors, which are not copied."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from core.engines.graph_model import Run
from core.engines.rules import INPUTS, Graph, Tower
from core.engines.served import Floats


def open_tower(
    tower: Tower, graph: Graph, tensors: Mapping[str, NDArray[Any]], *, threads: int
) -> Run:
    """Return what runs a tower, as `OpenTower` says."""
    session = open_session(graph, tensors, threads)

    def run(inputs: NDArray[Any]) -> Floats:
        features: Floats = session.run(None, {INPUTS[tower]: inputs})[0]
        return features

    return run


def open_session(graph: Graph, tensors: Mapping[str, NDArray[Any]], threads: int) -> Any:
    """Return ONNX Runtime's session of a tower with a version's tensors."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    # Else each version keeps what its largest batch has taken, beyond the limit on loaded versions.
    options.enable_cpu_mem_arena = False
    # Threads that spin while they wait slow the decoders and the API on shared cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(one) for one in tensors.values()]
    options.add_external_initializers([*tensors], values)
    return onnxruntime.InferenceSession(graph.onnx, options, providers=["CPUExecutionProvider"])
