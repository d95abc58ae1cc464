"""Bare loops: the least computation that classifies the same images, by torch or another engine.

They decode JPEGs with Pillow, transform and encode them, and compare them with features of the
class texts that are computed before. Run them in a process of their own.
"""

import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from statistics import median, quantiles

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image

from core.clip.bases import read_folder
from core.clip.graphs import write_graphs
from core.clip.model import ClipModel
from core.engines.opening import engines_here, opener_of
from core.engines.rules import Engine, Tower
from core.images.inputs import ImageInput
from core.images.pixels import tower_pixels
from core.registry.versions import ServingPrecision

# The measurements of one turn of the loop or of the service.


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A number of images that were classified, and the seconds that it took."""

    images: int
    answers: Sequence[float]  # latency of each call or request
    seconds: float
    cpu: float  # CPU time of all processes that classify

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.images / self.seconds

    @property
    def cpu_per_image(self) -> float:
        """CPU seconds for an image."""
        return self.cpu / self.images

    @property
    def p50(self) -> float:
        """The median latency."""
        return median(self.answers)

    @property
    def p99(self) -> float:
        """The latency that one of a hundred exceeds."""
        return quantiles(self.answers, n=100)[98] if len(self.answers) > 1 else self.answers[0]


TORCH = f"{Engine.TORCH} {ServingPrecision.FP32}"


def bare_engines(precision: ServingPrecision) -> list[str]:
    """Return the names of the engines but torch that have loops in a precision."""
    return [f"{engine} {precision}" for engine in engines_here(precision)]


_loops: dict[tuple[Path, str], "Loop"] = {}


class Loop:
    """A loop over one model."""

    def classify(self, files: Sequence[bytes]) -> None:
        """Classify one batch."""
        raise NotImplementedError

    def encode(self, files: Sequence[bytes]) -> NDArray[np.float32]:
        """Return the normalised features of one batch."""
        raise NotImplementedError

    def run(self, files: Sequence[bytes], batch: int, seconds: float) -> Taken:
        """Classify batches for some time."""
        calls: list[float] = []
        sent = cycle(files)
        began, worked = time.perf_counter(), time.process_time()
        while not calls or time.perf_counter() - began < seconds:
            called = time.perf_counter()
            self.classify(list(islice(sent, batch)))
            calls.append(time.perf_counter() - called)
        return Taken(
            images=batch * len(calls),
            answers=calls,
            seconds=time.perf_counter() - began,
            cpu=time.process_time() - worked,
        )


class TorchLoop(Loop):
    """open_clip alone."""

    def __init__(self, folder: Path, classes: Sequence[str], threads: int) -> None:
        torch.set_num_threads(threads)
        name = f"local-dir:{folder}"
        self._network, _, self._transform = open_clip.create_model_and_transforms(name)
        self._network.eval()
        texts = open_clip.get_tokenizer(name)(_prompts(classes))
        with torch.inference_mode():
            self._texts = self._network.encode_text(texts, normalize=True).T  # (width, classes)

    def classify(self, files: Sequence[bytes]) -> None:
        """Classify one batch."""
        with torch.inference_mode():
            logits = self._network.logit_scale.exp() * self._features(files) @ self._texts
            logits.softmax(dim=-1).topk(min(5, self._texts.shape[1])).values.tolist()

    def encode(self, files: Sequence[bytes]) -> NDArray[np.float32]:
        """Return the normalised features of one batch."""
        with torch.inference_mode():
            return self._features(files).numpy()

    def _features(self, files: Sequence[bytes]) -> torch.Tensor:
        pixels = torch.stack([self._transform(Image.open(io.BytesIO(data))) for data in files])
        features: torch.Tensor = self._network.encode_image(pixels, normalize=True)
        return features


class GraphLoop(Loop):
    """An engine on a graph that takes uint8 pixels, resized by Pillow."""

    def __init__(self, name: str, folder: Path, classes: Sequence[str], threads: int) -> None:
        engine, _, precision = name.partition(" ")
        config, network = read_folder(folder)
        model = ClipModel.build(config, network.state_dict(), torch.device("cpu")).freeze()
        graphs = write_graphs(model)
        state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
        graph = graphs.towers[Tower.IMAGE]
        tensors = {name: state[name] for name in graph.tensors}
        open_tower = opener_of(Engine(engine), ServingPrecision(precision))
        self._run = open_tower(Tower.IMAGE, graph, tensors, threads=threads)
        self._input = ImageInput.of(config)
        with torch.inference_mode():
            self._texts = (model.scale * model.encode_texts(_prompts(classes)).T).numpy()

    def classify(self, files: Sequence[bytes]) -> None:
        """Classify one batch."""
        logits = self.encode(files) @ self._texts
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        np.sort(shares / shares.sum(axis=1, keepdims=True))[:, -5:].tolist()

    def encode(self, files: Sequence[bytes]) -> NDArray[np.float32]:
        """Return the normalised features of one batch."""
        images = (Image.open(io.BytesIO(data)).convert("RGB") for data in files)
        pixels = np.stack([np.asarray(tower_pixels(image, self._input)) for image in images])
        return self._run(pixels)


def _prompts(classes: Sequence[str]) -> list[str]:
    return [f"a photo of a {name}." for name in classes]


def run(
    engine: str,
    folder: Path,
    classes: Sequence[str],
    threads: int,
    files: Sequence[bytes],
    batch: int,
    seconds: float,
) -> Taken:
    """Run the loop of a model, which is loaded at the first call, in this process."""
    if (folder, engine) not in _loops:
        for loaded in [key for key in _loops if key[0] != folder]:
            del _loops[loaded]
        _loops[folder, engine] = (
            TorchLoop(folder, classes, threads)
            if engine == TORCH
            else GraphLoop(engine, folder, classes, threads)
        )
    return _loops[folder, engine].run(files, batch, seconds)
