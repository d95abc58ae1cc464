"""Both towers as ONNX files, whose batches may have any size, in fp32 or with 8-bit weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from core.clip.model import ClipModel
from core.exporting.towers import Towers, towers_of, write_inputs

OPSET = 18
LARGEST_FILE = 1 << 30  # bytes; larger weights get a file of their own: protobuf ends at 2 GB
IMAGE_FILE, TEXT_FILE = "image.onnx", "text.onnx"


def write_onnx(model: ClipModel, folder: Path) -> None:
    """Write `image.onnx` and `text.onnx`, the vocabulary, and a description of their inputs.

    Features are L2-normalised rows.
    """
    (images, pixels), (texts, tokens) = towers_of(model)
    _write_tower(images, pixels, folder / IMAGE_FILE, "pixel_values", "image_embeds")
    _write_tower(texts, tokens, folder / TEXT_FILE, "input_ids", "text_embeds")
    write_inputs(model, folder)


def load_onnx(folder: Path, model: ClipModel, threads: int) -> Towers:
    """Load both files; images and texts are prepared by the model."""
    image, text = (open_session(folder / name, threads) for name in (IMAGE_FILE, TEXT_FILE))

    def images(batch: list[Image.Image]) -> Tensor:
        pixels = torch.stack([model.preprocess.evaluation_pixels(one) for one in batch])
        return image(model.preprocess.normalise(pixels))

    return Towers(images=images, texts=lambda batch: text(model.tokenise(batch)))


def open_session(path: Path, threads: int) -> Callable[[Tensor], Tensor]:
    """Return a function that runs a file on the CPU; with 0 threads, the runtime decides."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: torch.from_numpy(session.run(None, {name: batch.numpy()})[0])


def _write_tower(tower: nn.Module, example: Tensor, path: Path, given: str, returned: str) -> None:
    size = sum(tensor.nbytes for tensor in tower.state_dict().values())
    with torch.no_grad():
        program = torch.onnx.export(
            tower,
            (example,),
            input_names=[given],
            output_names=[returned],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export has returned no program")
    _forget_source(program.model)
    program.save(str(path), external_data=size > LARGEST_FILE)


def _forget_source(model: Any) -> None:
    """Remove the paths of the code that was traced, which are of this machine."""
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None


# Weights of 8 bits, and activations that are rounded to 8 bits as they come.

# Convolutions stay: ONNX Runtime computes theirs of 8 bits more slowly than the others.
ROUNDED = ["MatMul", "Gemm", "Gather"]


def round_weights(folder: Path) -> None:
    """Replace both towers by their dynamic quantisation, whose weights have a scale a channel."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    for name in (IMAGE_FILE, TEXT_FILE):
        path, rounded = folder / name, folder / f"{name}.rounded"
        outside = path.with_name(f"{name}.data")
        quantize_dynamic(
            path,
            rounded,
            op_types_to_quantize=ROUNDED,
            per_channel=True,
            weight_type=QuantType.QUInt8,  # signed ones overflow on processors without VNNI
            use_external_data_format=outside.exists(),
        )
        outside.unlink(missing_ok=True)
        rounded.replace(path)
