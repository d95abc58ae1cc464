"""Our geometry in Pillow alone is open_clip's evaluation transform, to the bit."""

from itertools import product
from typing import Any

import pytest
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torchvision.transforms import Compose

from core.clip.model import empty_network
from core.images.child import tower_pixels
from core.values import ImageInput
from tests.support.learning.tiny_clip import CONFIG
from tests.support.pictures import picture

SIZES = [(40, 30), (30, 40), (16, 16), (9, 31), (60, 9), (1, 1), (61, 17), (17, 61)]

INPUTS = [(16, 16), (17, 17), (12, 20), (20, 12)]  # height, width


def open_clips(image: Image.Image, size: tuple[int, int], config: dict[str, Any]) -> Image.Image:
    """Return the image that open_clip makes of another one, before it becomes floats."""
    settings = PreprocessCfg(**{**config, "size": size})
    *geometry, _, _ = image_transform_v2(settings, is_train=False).transforms
    made: Image.Image = Compose(geometry)(image)
    return made


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "random"])
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_pixels_equal_open_clips(mode: str, interpolation: str) -> None:
    config = {"resize_mode": mode, "interpolation": interpolation, "fill_color": 128}
    for size, given in product(SIZES, INPUTS):
        image = picture(*size)
        ours = tower_pixels(image, ImageInput.with_size(config, given))
        theirs = open_clips(image, given, config)
        assert (ours.size, ours.tobytes()) == (theirs.size, theirs.tobytes()), (size, given)


def test_an_image_a_pixel_thin_is_not_lost_and_an_unknown_mode_is_an_error() -> None:
    wanted = ImageInput(height=16, width=16, resize_mode="longest", fill_color=0)
    for size in ((1, 512), (512, 1)):
        found = tower_pixels(Image.new("RGB", size, (255, 0, 0)), wanted)
        assert (found.size, found.tobytes().count(255)) == ((16, 16), 16)
    with pytest.raises(ValueError, match="resize_mode"):
        tower_pixels(picture(), ImageInput(height=16, width=16, resize_mode="stretch"))


@pytest.mark.parametrize(
    "vision_cfg",
    [
        CONFIG["model_cfg"]["vision_cfg"],
        {"image_size": [16, 32], "patch_size": 8, "width": 16, "head_width": 8, "layers": 1},
        {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8},
        {"image_size": 64, "timm_model_name": "convnext_zepto_rms_ols", "timm_proj": "linear"},
    ],
    ids=["ViT", "oblong ViT", "ResNet", "timm"],
)
def test_the_input_of_a_config_is_that_of_its_tower(vision_cfg: dict[str, Any]) -> None:
    config = {**CONFIG, "model_cfg": {**CONFIG["model_cfg"], "vision_cfg": vision_cfg}}
    size = empty_network(config).get_submodule("visual").image_size
    found = ImageInput.of(config)
    assert (found.height, found.width) == ((size, size) if isinstance(size, int) else tuple(size))


def test_what_a_config_does_not_say_is_open_clips_default() -> None:
    config: dict[str, Any] = {"model_cfg": {"vision_cfg": {}}, "preprocess_cfg": {}}
    assert ImageInput.of(config) == ImageInput(height=224, width=224)
    config["preprocess_cfg"] = {"resize_mode": None, "interpolation": "bilinear", "mean": [0, 0, 0]}
    assert ImageInput.of(config) == ImageInput(height=224, width=224, interpolation="bilinear")
