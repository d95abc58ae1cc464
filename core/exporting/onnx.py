"""Both towers as ONNX files, whose batches may have any size, in fp32 or with 8-bit weights."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize

from core.clip.model import ClipModel
from core.values import Json

OPSET = 18
LARGEST_FILE = 1 << 30  # bytes; larger weights get a file of their own: protobuf ends at 2 GB
IMAGE_FILE, TEXT_FILE, MODEL_FILE = "image.onnx", "text.onnx", "model.json"


def write_onnx(model: ClipModel, folder: Path) -> None:
    """Write `image.onnx` and `text.onnx`, the vocabulary, and a description of their inputs.

    Features are L2-normalised rows.
    """
    height, width = model.preprocess.size
    pixels = torch.zeros(2, 3, height, width)
    tokens = model.tokenise(["a photo", "a drawing of two trees"])
    for name, encode, example, given, returned in (
        (IMAGE_FILE, "encode_image", pixels, "pixel_values", "image_embeds"),
        (TEXT_FILE, "encode_text", tokens, "input_ids", "text_embeds"),
    ):
        _write_tower(_Tower(model.network, encode).eval(), example, folder / name, given, returned)
    write_vocabulary(model, folder)
    described = json.dumps(describe(model), indent=2) + "\n"
    (folder / MODEL_FILE).write_text(described)


def describe(model: ClipModel) -> Json:
    """Return what a caller must know of the model's inputs, and the scale of similarities."""
    settings = model.preprocess.settings
    return {
        "image": {
            "size": list(model.preprocess.size),
            "mean": list(settings.mean),
            "std": list(settings.std),
            "interpolation": settings.interpolation,
            "resize_mode": settings.resize_mode,
        },
        "text": {
            "context_length": model.context_length,
            "start_token": model.tokenizer.sot_token_id,
            "end_token": model.tokenizer.eot_token_id,
            "padding": 0,
        },
        "scale": round(float(model.scale.detach()), 6),
    }


@dataclass(frozen=True, kw_only=True)
class Towers:
    """Both towers with their preprocessing; features are rows, normalised or not."""

    images: Callable[[list[Image.Image]], Tensor]
    texts: Callable[[list[str]], Tensor]


def load_onnx(folder: Path, model: ClipModel, threads: int) -> Towers:
    """Load both files; images and texts are prepared by the model."""
    image, text = (open_session(folder / name, threads) for name in (IMAGE_FILE, TEXT_FILE))

    def images(batch: list[Image.Image]) -> Tensor:
        pixels = torch.stack([model.preprocess.evaluation_pixels(one) for one in batch])
        return image(model.preprocess.normalise(pixels))

    def texts(batch: list[str]) -> Tensor:
        return text(model.tokenise(batch))

    return Towers(images=images, texts=texts)


def open_session(path: Path, threads: int) -> Callable[[Tensor], Tensor]:
    """Return a function that runs a file on the CPU; with 0 threads, the runtime decides."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: torch.from_numpy(session.run(None, {name: batch.numpy()})[0])


class _Tower(nn.Module):
    """One tower of a network, with normalised features."""

    def __init__(self, network: nn.Module, encode: str) -> None:
        super().__init__()
        self._network = network
        self._encode = encode

    def forward(self, batch: Tensor) -> Tensor:
        features: Tensor = getattr(self._network, self._encode)(batch)
        return normalize(features, dim=-1)


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


# CLIP's tokenizer as files that libraries other than open_clip read.

START, END = "<|startoftext|>", "<|endoftext|>"  # as the field writes them; open_clip's differ


def write_vocabulary(model: ClipModel, folder: Path) -> None:
    """Write `vocab.json`, from tokens to ids, and `merges.txt`, in the order of their ranks."""
    tokenizer = model.tokenizer
    ids = dict(tokenizer.encoder)
    for ours, theirs in ((tokenizer.sot_token_id, START), (tokenizer.eot_token_id, END)):
        del ids[tokenizer.decoder[ours]]
        ids[theirs] = ours
    ranks = tokenizer.bpe_ranks
    merges = [" ".join(pair) for pair in sorted(ranks, key=ranks.__getitem__)]
    (folder / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False), encoding="utf-8")
    lines = "\n".join(["#version: 0.2", *merges])
    (folder / "merges.txt").write_text(lines + "\n", encoding="utf-8")


def write_tokenizer(model: ClipModel, folder: Path) -> None:
    """Write the files of `CLIPTokenizer`, which cuts texts to the model's context length."""
    write_vocabulary(model, folder)
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": model.context_length,
        **special,
    }
    for name, content in (
        ("tokenizer_config.json", settings),
        ("special_tokens_map.json", special),
    ):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")
