"""The towers of an architecture as ONNX graphs without weights, which engines other than torch run.

A graph names the tensors of a version where its weights belong. So all versions of an architecture
share it, and the weights are stored once, as the tensors that torch loads.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from core.clip.inputs import is_croppable, text_features
from core.clip.model import ClipModel, normalised
from core.engines.rules import (
    FEATURES,
    INPUTS,
    WEIGHTS,
    Graph,
    Graphs,
    Tower,
    architecture_of,
)

OPSET = 18


def write_graphs(model: ClipModel) -> Graphs:
    """Return the graphs of a model's architecture.

    The image tower takes uint8 pixels (images, height, width, 3), the text tower int64 token ids
    (sentences, up to context length); both give L2-normalised features (inputs, width). Raises
    what torch's exporter raises for an architecture that it cannot express.
    """
    height, width = model.preprocess.size
    pixels = torch.zeros(2, height, width, 3, dtype=torch.uint8)
    tokens = model.tokenise(["a photo", "a drawing of two trees"])
    batch = torch.export.Dim("batch")
    sentences: dict[int, Any] = {0: batch}
    croppable = is_croppable(model.network)
    if croppable:
        tokens = tokens[:, : model.context_length - 1]
        sentences[1] = torch.export.Dim("length", max=model.context_length)
    image = _graph(_Images(model), pixels, {0: batch}, Tower.IMAGE)
    text = _graph(_Texts(model), tokens, sentences, Tower.TEXT)
    return Graphs(
        architecture=architecture_of(model.config),
        towers={Tower.IMAGE: image, Tower.TEXT: replace(text, croppable=croppable)},
    )


class _Images(nn.Module):
    def __init__(self, model: ClipModel) -> None:
        super().__init__()
        self.network = model.network
        self._preprocess = model.preprocess

    def forward(self, pixels: Tensor) -> Tensor:
        inputs = self._preprocess.normalise(pixels.permute(0, 3, 1, 2))
        return normalised(self.network.encode_image(inputs))  # type: ignore[operator]


class _Texts(nn.Module):
    def __init__(self, model: ClipModel) -> None:
        super().__init__()
        self.network = model.network

    def forward(self, tokens: Tensor) -> Tensor:
        return normalised(text_features(self.network, tokens))


def _graph(module: nn.Module, example: Tensor, dims: Mapping[int, Any], tower: Tower) -> Graph:
    with torch.no_grad():
        program = torch.onnx.export(
            module.eval(),
            (example,),
            input_names=[INPUTS[tower]],
            output_names=[FEATURES],
            dynamic_shapes=(dims,),
            opset_version=OPSET,
            dynamo=True,
            optimize=False,  # nothing that is computed from weights may be written into the graph
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export has returned no program")
    network = module.get_submodule("network")
    names = {f"network.{name}": name for name in network.state_dict()}
    return _refer(program.model, names)


def _refer(model: Any, names: Mapping[str, str]) -> Graph:
    """Return a graph with references in the place of weights, whose names are given."""
    import onnx_ir

    initializers = model.graph.initializers
    tensors = [name for name in initializers if name in names]
    for name in tensors:
        value = initializers[name]
        tensor = value.const_value
        value.name = names[name]
        value.const_value = onnx_ir.ExternalTensor(
            WEIGHTS, 0, tensor.nbytes, tensor.dtype, shape=tensor.shape, name=value.name
        )
    for part in [*model.graph.all_nodes(), *initializers.values()]:
        part.metadata_props.clear()  # paths of this machine
        part.doc_string = None
    onnx = onnx_ir.to_proto(model).SerializeToString(deterministic=True)
    return Graph(onnx=onnx, tensors=tuple(names[name] for name in tensors))
