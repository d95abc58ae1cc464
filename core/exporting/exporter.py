"""Write a version in the formats of other software, and compare the features."""

import math
from collections.abc import Callable, Collection
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import open_clip
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import cosine_similarity

from core.artifacts.store import Artifacts
from core.clip.inputs import read_image
from core.clip.machine import release_of
from core.clip.model import ClipModel, load
from core.clip.progress import while_computing
from core.clip.text_towers import have_text_towers
from core.exporting.huggingface import load_huggingface, write_huggingface
from core.exporting.onnx import load_onnx, round_weights, write_onnx
from core.exporting.towers import Towers
from core.exports.exporter import Samples
from core.jobs.rules import Monitor
from core.registry.exports import ExportFormat, available_formats
from core.registry.text_towers import text_tower_name
from core.values import Digest, Json

ALWAYS = ("torch", "open_clip_torch")


class VersionExporter:
    """Exports versions by torch, on the CPU."""

    def __init__(self, artifacts: Artifacts, *, threads: int = 0) -> None:
        """Create an exporter; with 0 threads, the libraries decide how many to use."""
        self._artifacts = artifacts
        self._threads = threads

    def formats(self) -> Collection[ExportFormat]:
        """Return the formats whose libraries are installed here."""
        return available_formats()

    def write(
        self, version: Digest, export_format: ExportFormat, folder: Path, monitor: Monitor
    ) -> None:
        """Write the files of a version. Raises ArtifactMissing or ArtifactCorrupt."""
        model = self._load(version, monitor)
        write = _WRITERS[export_format]
        while_computing(lambda: write(model, folder), monitor)

    def check(
        self,
        version: Digest,
        export_format: ExportFormat,
        folder: Path,
        samples: Samples,
        monitor: Monitor,
    ) -> Json:
        """Load the files as their users do, and compare their features with the version's."""
        model = self._load(version, monitor)
        towers = while_computing(lambda: self._open(export_format, folder, model), monitor)
        found = compare(self._artifacts, model, towers, samples, monitor)
        names = (*ALWAYS, *export_format.libraries)
        return {**found, "libraries": {name: release_of(name) for name in names}}

    def _load(self, version: Digest, monitor: Monitor) -> ClipModel:
        return load(version, self._artifacts, moved=monitor.moved).freeze()

    def _open(self, export_format: ExportFormat, folder: Path, model: ClipModel) -> Towers:
        if export_format is ExportFormat.HUGGINGFACE:
            return load_huggingface(folder)
        if export_format.is_open_clip_folder:
            return load_open_clip(folder, model)
        return load_onnx(folder, model, self._threads)


def _write_int8(model: ClipModel, folder: Path) -> None:
    write_onnx(model, folder)
    round_weights(folder)


_WRITERS: dict[ExportFormat, Callable[[ClipModel, Path], None]] = {
    ExportFormat.HUGGINGFACE: write_huggingface,
    ExportFormat.ONNX: write_onnx,
    ExportFormat.ONNX_INT8: _write_int8,
}


# The comparison of an export's features with those of its version.

BATCH = 8
GENERATED = 8
DIGITS = 6  # of cosines, rounded down

_Item = TypeVar("_Item")


def compare(
    artifacts: Artifacts, model: ClipModel, export: Towers, samples: Samples, monitor: Monitor
) -> dict[str, Any]:
    """Return the smallest cosine over the images and over the texts, and what they were.

    All are asked in batches of eight, and the first alone too, so that batches of several sizes
    are tried. Both sides get the same cut of each image; the smallest cosine over whole images,
    which each side cuts by itself, is beside it.
    """
    images = [read_image(artifacts.get(image)) for image in samples.images]
    source = "suites" if images else "generated"
    images = images or [_picture(seed) for seed in range(GENERATED)]
    cuts = [_cut(model, image) for image in images]
    texts = list(samples.texts)
    total = 2 * len(images) + len(texts)

    def advance(done: int) -> None:
        monitor.advance("checking", done, total)

    def ours(batch: list[Image.Image]) -> Tensor:
        pixels = torch.stack([model.preprocess.evaluation_pixels(image) for image in batch])
        return model.encode_images(pixels)

    least = partial(_least, monitor=monitor, advance=advance)
    of_cuts = least(cuts, ours, export.images, done=0)
    of_whole = least(images, ours, export.images, done=len(images))
    of_texts = least(texts, model.encode_texts, export.texts, done=2 * len(images))
    return {
        "images": len(images),
        "images_from": source,
        "texts": len(texts),
        "least_cosine_images": of_cuts,
        "least_cosine_whole_images": of_whole,
        "least_cosine_texts": of_texts,
    }


def _picture(seed: int) -> Image.Image:
    """Return a coarse random pattern under a fine one, in the size and shape of a seed."""
    source = np.random.default_rng(seed)
    height, width = (int(side) for side in source.integers(80, 400, 2))
    coarse = Image.fromarray(source.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    base = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    noisy = base + source.integers(-20, 21, base.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def _cut(model: ClipModel, image: Image.Image) -> Image.Image:
    """Return the part of an image that the model sees, at the size at which it sees it."""
    pixels = model.preprocess.evaluation_pixels(image)  # (3, height, width)
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def _least(
    items: list[_Item],
    ours: Callable[[list[_Item]], Tensor],
    theirs: Callable[[list[_Item]], Tensor],
    *,
    monitor: Monitor,
    advance: Callable[[int], None],
    done: int,
) -> float:
    """Return the smallest cosine between their features and ours, rounded down."""

    @torch.no_grad()
    def least_of(batch: list[_Item]) -> float:
        cosines = cosine_similarity(ours(batch).double(), theirs(batch).double())
        return float(cosines.nan_to_num(nan=-1.0).min())

    least = 1.0
    batches = [items[start : start + BATCH] for start in range(0, len(items), BATCH)]
    for batch in (items[:1], *batches):
        # A batch of a large model may take longer than a lease.
        least = min(least, while_computing(partial(least_of, batch), monitor))
        advance(done)
        done += len(batch)
    return float(math.floor(least * 10**DIGITS) / 10**DIGITS)


def load_open_clip(folder: Path, model: ClipModel) -> Towers:
    """Load a folder that `write_folder` wrote as its users do.

    open_clip reads a tokenizer that is not CLIP's by transformers; where that is not installed, the
    model reads the texts. A text tower of transformers has its settings in the folder, which users
    without the hub name as is done here.
    """
    name = f"local-dir:{folder.absolute()}"
    settings: dict[str, Any] = {}
    if text_tower_name(model.config["model_cfg"]):
        have_text_towers()
        here = {"hf_model_name": str(folder.absolute()), "hf_model_pretrained": False}
        settings = {"text_cfg": {**model.config["model_cfg"]["text_cfg"], **here}}
    network, _, preprocess = open_clip.create_model_and_transforms(name, **settings)
    own = model.tokenizer_file is not None and find_spec("transformers") is None
    tokenizer = model.tokenise if own else open_clip.get_tokenizer(name)
    network.eval()

    def images(batch: list[Image.Image]) -> Tensor:
        features: Tensor = network.encode_image(torch.stack([preprocess(one) for one in batch]))
        return features

    def texts(batch: list[str]) -> Tensor:
        features: Tensor = network.encode_text(tokenizer(batch))
        return features

    return Towers(images=images, texts=texts)
