"""A version by its graphs: those of its architecture, with its own tensors."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from core.artifacts.store import Artifacts
from core.engines.rules import Engine, Graph, Graphs, Tower
from core.engines.served import Floats, read_arrays
from core.engines.tokens import Tokenizer, tokenizer_of
from core.images.inputs import ImageInput
from core.registry.architecture import TOKENIZER, brings_tokenizer
from core.registry.versions import Weights

SCALE = "logit_scale"  # the tensor of its logarithm

Run = Callable[[NDArray[Any]], Floats]  # features (inputs, width) of a tower's inputs


class OpenTower(Protocol):
    """An engine's way to load a tower with a version's tensors."""

    def __call__(
        self, tower: Tower, graph: Graph, tensors: Mapping[str, NDArray[Any]], *, threads: int
    ) -> Run:
        """Return what runs the tower on the CPU, with `threads` threads; 0 is one for each core.

        Raises errors of the engine's own for a graph that it cannot run.
        """


class GraphModel:
    """A `ServedModel` that another engine than torch computes on the CPU."""

    def __init__(
        self,
        weights: Weights,
        graphs: Graphs,
        artifacts: Artifacts,
        open_tower: OpenTower,
        *,
        engine: Engine,
        threads: int,
    ) -> None:
        """Load both towers. Raises ArtifactMissing, ArtifactCorrupt, or what the engine raises."""
        self.engine = engine
        self.input = ImageInput.of(weights.config)
        logarithm = read_arrays(weights, [SCALE], artifacts)[SCALE]
        self.scale = float(np.exp(logarithm).reshape(()))
        has_own = brings_tokenizer(weights.config["model_cfg"])
        own = read_arrays(weights, [TOKENIZER], artifacts) if has_own else {}
        self.tokenizer: Tokenizer = tokenizer_of(
            weights.config, own[TOKENIZER].tobytes() if own else None
        )
        self._croppable = graphs.towers[Tower.TEXT].croppable
        self._towers = {
            tower: open_tower(
                tower, graph, read_arrays(weights, graph.tensors, artifacts), threads=threads
            )
            for tower, graph in graphs.towers.items()
        }

    def encode_images(self, pixels: NDArray[np.uint8]) -> Floats:
        """Return features (images, width) of pixels (images, height, width, 3)."""
        return self._towers[Tower.IMAGE](pixels)

    def encode_tokens(self, tokens: NDArray[np.int64]) -> Floats:
        """Return features (sentences, width) of token ids (sentences, context length)."""
        if self._croppable:
            longest = int(self.tokenizer.frame.lengths(tokens).max())
            tokens = tokens[:, :longest]
        return self._towers[Tower.TEXT](tokens)
