"""An export is compared with its version while the job keeps its lease."""

import time
from threading import Event
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from core.exporting.exporter import compare
from core.exporting.onnx import Towers
from core.exports.exporter import Samples
from tests.support.learning.tiny_clip import tiny_clip
from tests.support.memory_artifacts import MemoryArtifacts


class Listening:
    """A monitor that notes when the lease is renewed."""

    def __init__(self) -> None:
        self.renewed = Event()

    def advance(self, *_: Any) -> None: ...

    def moved(self, count: int) -> None:
        self.renewed.set()


def test_a_batch_that_takes_long_keeps_the_lease() -> None:
    clip, monitor = tiny_clip(seed=1), Listening()

    def images(batch: list[Image.Image]) -> Tensor:
        began = time.process_time()
        while not monitor.renewed.is_set() and time.process_time() - began < 5:
            pass
        return clip.encode_images(
            torch.stack([clip.preprocess.evaluation_pixels(one) for one in batch])
        )

    towers = Towers(images=images, texts=clip.encode_texts)
    samples = Samples(images=(), texts=("a cat",))
    found = compare(MemoryArtifacts(), clip, towers, samples, monitor)  # type: ignore[arg-type]
    assert monitor.renewed.is_set()
    assert min(found["least_cosine_images"], found["least_cosine_texts"]) >= 0.999999
