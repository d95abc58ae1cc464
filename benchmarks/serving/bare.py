"""A bare open_clip loop: the least computation that classifies the same images.

It decodes JPEGs with Pillow, transforms and encodes them as open_clip does, and compares them with
features of the class texts that are computed before. Run it in a process of its own.
"""

import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from statistics import median, quantiles

import open_clip
import torch
from PIL import Image

# The measurements of one turn of the loop or of the service.


@dataclass(frozen=True, kw_only=True)
class Taken:
    """How many images were classified, and how long that took, in seconds."""

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


_loops: dict[Path, "BareLoop"] = {}


class BareLoop:
    """A model of a folder, and features of class texts."""

    def __init__(self, folder: Path, classes: Sequence[str], threads: int) -> None:
        torch.set_num_threads(threads)
        name = f"local-dir:{folder}"
        self._network, _, self._transform = open_clip.create_model_and_transforms(name)
        self._network.eval()
        texts = open_clip.get_tokenizer(name)([f"a photo of a {name}." for name in classes])
        with torch.inference_mode():
            self._texts = self._network.encode_text(texts, normalize=True).T  # (width, classes)

    def classify(self, files: Sequence[bytes]) -> None:
        """Classify one batch."""
        pixels = torch.stack([self._transform(Image.open(io.BytesIO(data))) for data in files])
        with torch.inference_mode():
            features = self._network.encode_image(pixels, normalize=True)
            logits = self._network.logit_scale.exp() * features @ self._texts
            logits.softmax(dim=-1).topk(min(5, self._texts.shape[1])).values.tolist()

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


def run(
    folder: Path,
    classes: Sequence[str],
    threads: int,
    files: Sequence[bytes],
    batch: int,
    seconds: float,
) -> Taken:
    """Run the loop of a model, which is loaded at the first call, in this process."""
    if folder not in _loops:
        _loops.clear()
        _loops[folder] = BareLoop(folder, classes, threads)
    return _loops[folder].run(files, batch, seconds)
