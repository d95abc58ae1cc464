"""Stored bytes become exactly what open_clip's own transform makes of them."""

import io

import pytest
import torch
from open_clip.transform import image_transform_v2
from PIL import Image

from core.clip.inputs import Preprocess, read_image
from tests.support.learning.tiny_clip import tiny_clip


def picture(width: int, height: int, image_format: str = "WEBP") -> bytes:
    """A photograph-like gradient with a corner that tells left from right."""
    image = Image.new("RGB", (width, height))
    image.putdata(
        [
            (x * 255 // width, y * 255 // height, (x * y) % 256)
            for y in range(height)
            for x in range(width)
        ]
    )
    out = io.BytesIO()
    image.save(out, image_format, lossless=True)
    return out.getvalue()


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [(40, 30), (16, 16), (9, 31)])
def test_evaluation_input_equals_open_clips(mode: str, size: tuple[int, int]) -> None:
    preprocess = Preprocess.of({"resize_mode": mode, "mean": [0.4, 0.5, 0.6]}, 16)
    image = read_image(picture(*size))
    ours = preprocess.normalise(preprocess.evaluation_pixels(image))
    theirs = image_transform_v2(preprocess.settings, is_train=False)(image)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ((36, 36), (3, 18, 18)),
        ((72, 36), (3, 18, 36)),
        ((36, 54), (3, 27, 18)),
        ((8, 4), (3, 18, 36)),
    ],
)
def test_training_pixels_leave_a_margin_and_keep_the_shape(
    size: tuple[int, int], shape: tuple[int, int, int]
) -> None:
    assert tiny_clip().preprocess.training_pixels(read_image(picture(*size))).shape == shape
