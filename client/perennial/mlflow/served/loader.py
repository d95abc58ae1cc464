"""The model that MLflow loads: images in, classes and their probabilities out.

It sees images and compares classes by the service's own code, of which it holds a copy, so that a
server of it needs `mlflow`, `numpy`, `onnxruntime` and `pillow`, and no service.
"""

import base64
import binascii
import io
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray
from PIL import Image

from perennial.mlflow.served.core.images.inputs import ImageInput
from perennial.mlflow.served.core.images.pixels import kind_of, stored_form, tower_pixels
from perennial.mlflow.served.core.inference.compare import compare

IMAGE, TOP_K = "image", "top_k"
BEST = 5  # classes of an answer, unless `top_k` says how many
AT_ONCE = 32  # images
STORED_SIDE = 512  # pixels: the longest side of images that a service stores by default
MAX_PIXELS = 25_000_000  # likewise

# What Pillow raises of damaged files, and of those that claim far more than `MAX_PIXELS`.
UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)

TOWER, DESCRIPTION, CLASSES = "image.onnx", "model.json", "classes.json"


class Served:
    """The image tower of a version, and the vectors of its classes."""

    def __init__(self, folder: Path) -> None:
        """Load the files that `perennial mlflow mirror` has written."""
        described = json.loads((folder / DESCRIPTION).read_bytes())
        known = json.loads((folder / CLASSES).read_bytes())
        self._image, self._scale = described["image"], described["scale"]
        self._input = ImageInput.with_size(self._image, self._image["size"])
        self._classes = known["classes"]
        vectors = [np.frombuffer(base64.b64decode(one), "<f4") for one in known["vectors"]]
        self._vectors = np.stack(vectors)
        self._tower = onnxruntime.InferenceSession(
            folder / TOWER, providers=["CPUExecutionProvider"]
        )

    def predict(
        self, data: Mapping[str, Any], params: Mapping[str, Any] | None = None
    ) -> list[list[dict[str, Any]]]:
        """Return for each image its classes with their probabilities, most probable first.

        The column `image` of a data frame holds files: bytes, base64, or instances of `Path`, which
        no request can send. Raises MlflowException.
        """
        top_k = int((params or {}).get(TOP_K, BEST))
        if IMAGE not in data or top_k < 1:
            raise _invalid(f"Send a column `{IMAGE}`, and as `{TOP_K}` at least 1.")
        files = list(data[IMAGE])
        found: list[list[dict[str, Any]]] = []
        for first in range(0, len(files), AT_ONCE):
            pixels = [
                self._pixels(file, row)
                for row, file in enumerate(files[first : first + AT_ONCE], first)
            ]
            found += self._answers(np.stack(pixels), top_k)
        return found

    def _answers(self, pixels: NDArray[np.float32], top_k: int) -> Iterator[list[dict[str, Any]]]:
        """Yield the best classes of images (images, 3, height, width)."""
        (features,) = self._tower.run(None, {self._tower.get_inputs()[0].name: pixels})
        best, shares, _ = compare(features, scale=self._scale, columns=self._vectors, top_k=top_k)
        for places, probabilities in zip(best.tolist(), shares.tolist(), strict=True):
            yield [
                {"class": self._classes[place], "probability": probability}
                for place, probability in zip(places, probabilities, strict=True)
            ]

    def _pixels(self, file: object, row: int) -> NDArray[np.float32]:
        """Return the pixels (3, height, width) of a file as the tower takes them."""
        try:
            image = tower_pixels(read_image(file), self._input)
        except UNREADABLE as error:
            raise _invalid(f"Row {row}: {error}") from error
        shape = (3, 1, 1)
        mean, std = (np.reshape(self._image[name], shape) for name in ("mean", "std"))
        scaled = np.asarray(image, np.float32).transpose(2, 0, 1) / 255
        return ((scaled - mean) / std).astype(np.float32)


def read_image(file: object) -> Image.Image:
    """Return an image as a service sees it. Raises ValueError, and what Pillow raises."""
    if isinstance(file, str):
        try:
            file = base64.b64decode(file, validate=True)
        except binascii.Error as error:
            raise ValueError(f"It is no base64 ({error}).") from error
    data = file.read_bytes() if isinstance(file, Path) else file
    kind = kind_of(data) if isinstance(data, bytes) else None
    if kind is None or not isinstance(data, bytes):
        raise ValueError("It is no JPEG, PNG, WebP, GIF or BMP.")
    with Image.open(io.BytesIO(data), formats=[kind]) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"It has more than {MAX_PIXELS:,} pixels.")
        if kind != "JPEG" and getattr(image, "is_animated", False):
            raise ValueError("It is an animation.")
        image.load()
        stored: Image.Image = stored_form(image, STORED_SIDE)
        return stored


def _invalid(message: str) -> MlflowException:
    return MlflowException.invalid_parameter_value(message)


def _load_pyfunc(path: str) -> Served:
    """Load the folder `model` of a version, as MLflow calls it."""
    return Served(Path(path))
