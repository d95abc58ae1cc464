"""A version on ONNX Runtime: the graphs of its architecture with its own tensors."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.artifacts.store import Artifacts
from core.engines.rules import INPUTS, Engine, Graph, Graphs, Tower
from core.engines.served import Floats, read_arrays
from core.engines.tokens import Tokenizer, tokenizer_of
from core.registry.architecture import context_length
from core.registry.versions import Weights
from core.values import ImageInput

SCALE = "logit_scale"  # the tensor of its logarithm


class OnnxModel:
    """A `ServedModel` that computes on the CPU, with `threads` threads; 0 is one for each core."""

    engine = Engine.ONNX

    def __init__(
        self, weights: Weights, graphs: Graphs, artifacts: Artifacts, *, threads: int
    ) -> None:
        """Load both towers. Raises ArtifactMissing or ArtifactCorrupt.

        ONNX Runtime raises errors of its own for a graph that it cannot run.
        """
        self._config = weights.config
        self.input = ImageInput.of(weights.config)
        logarithm = read_arrays(weights, [SCALE], artifacts)[SCALE]
        self.scale = float(np.exp(logarithm).reshape(()))
        self._graphs = graphs
        self._sessions = {
            tower: open_session(graph, read_arrays(weights, graph.tensors, artifacts), threads)
            for tower, graph in graphs.towers.items()
        }

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """CLIP's own tokenizer, at this version's context length."""
        settings = self._config["model_cfg"]["text_cfg"].get("tokenizer_kwargs") or {}
        return tokenizer_of(context_length(self._config), settings.get("clean", "lower"))

    def encode_images(self, pixels: NDArray[np.uint8]) -> Floats:
        """Return features (images, width) of pixels (images, height, width, 3)."""
        return self._run(Tower.IMAGE, pixels)

    def encode_tokens(self, tokens: NDArray[np.int64]) -> Floats:
        """Return features (sentences, width) of token ids (sentences, context length)."""
        if self._graphs.towers[Tower.TEXT].croppable:
            longest = int((tokens == self.tokenizer.end).argmax(axis=1).max()) + 1
            tokens = tokens[:, :longest]
        return self._run(Tower.TEXT, tokens)

    def _run(self, tower: Tower, inputs: NDArray[Any]) -> Floats:
        features: Floats = self._sessions[tower].run(None, {INPUTS[tower]: inputs})[0]
        return features


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
