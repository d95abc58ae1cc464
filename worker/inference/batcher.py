"""Batching of images from many requests into one forward pass."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import TypeVar

import torch
from torch import Tensor

from core.clip.model import ClipModel

MAX_IMAGES = 64

_Result = TypeVar("_Result")


class _Request:
    def __init__(self, model: ClipModel, pixels: Tensor) -> None:
        self.model = model
        self.pixels = pixels  # (images, 3, height, width), uint8
        self.features: Tensor | None = None  # (images, width)


class MicroBatcher:
    """Batches requests on one thread, which owns the device.

    Requests that arrive during a forward pass share the next one, so that a single request never
    waits for others to fill a batch.
    """

    def __init__(self, *, max_images: int = MAX_IMAGES) -> None:
        self._max_images = max_images
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._lock = Lock()
        self._waiting: list[_Request] = []

    def encode(
        self, model: ClipModel, pixels: Tensor, then: Callable[[Tensor], _Result]
    ) -> Future[_Result]:
        """Return what `then` makes, on the same thread, of the features (images, width).

        The pixels are uint8 (images, 3, height, width).
        """
        request = _Request(model, pixels)
        with self._lock:
            self._waiting.append(request)
        return self._thread.submit(lambda: then(self._answer(request)))

    def run(self, work: Callable[[], _Result]) -> Future[_Result]:
        """Run other work that needs the device, in turn."""
        return self._thread.submit(work)

    def close(self) -> None:
        """Finish all pending work and end the thread."""
        self._thread.shutdown()

    def _answer(self, request: _Request) -> Tensor:
        if request.features is None:
            self._compute(self._gather(request))
        if request.features is None:
            raise RuntimeError("a batch returned no answer for its own request")
        return request.features

    def _gather(self, request: _Request) -> list[_Request]:
        """Take this request and as many waiting ones for the same model as fit in the batch."""
        with self._lock:
            if request in self._waiting:
                self._waiting.remove(request)
            batch, images = [request], len(request.pixels)
            for other in list(self._waiting):
                fits = images + len(other.pixels) <= self._max_images
                if other.model is request.model and fits:
                    self._waiting.remove(other)
                    batch.append(other)
                    images += len(other.pixels)
        return batch

    def _compute(self, batch: list[_Request]) -> None:
        """Compute a batch. If it fails, so does its first request; the others run in their turn."""
        pixels = torch.cat([request.pixels for request in batch])
        with torch.inference_mode():
            blocks = [
                batch[0].model.encode_images(block)
                for block in torch.split(pixels, self._max_images)
            ]
        rows = torch.split(torch.cat(blocks), [len(request.pixels) for request in batch])
        for request, features in zip(batch, rows, strict=True):
            request.features = features
