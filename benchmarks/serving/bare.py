"""A bare open_clip loop: the least computation that classifies the same images.

It decodes JPEGs with Pillow, transforms and encodes them as open_clip does, and compares them with
features of the class texts that are computed before. Run it in a process of its own.
"""

import io
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

import open_clip
import torch
from PIL import Image

from benchmarks.serving.taken import Taken

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
