"""The geometry of evaluation: an image becomes the pixels that an image tower takes.

It is that of open_clip's evaluation transform, in Pillow alone, so that the confined process that
decodes untrusted images computes the very pixels that evaluation computes.
"""

from collections.abc import Callable

from PIL import Image, ImageOps

from core.domain.registry.image_input import ImageInput


def tower_pixels(image: Image.Image, wanted: ImageInput) -> Image.Image:
    """Return an RGB image resized and cropped to a tower's input."""
    match wanted.resize_mode:
        case "squash":
            return _resized(image, (wanted.width, wanted.height), _filter(wanted))
        case "longest":
            resized = _resized(image, _fitted(image, wanted, max), _filter(wanted))
            return _centre(resized, wanted, fill=wanted.fill_color)
        case "shortest" if wanted.width == wanted.height:
            resized = _resized(image, _short_side(image, wanted.width), _filter(wanted))
        case "shortest":  # here open_clip always takes the bicubic filter
            bicubic = Image.Resampling.BICUBIC
            resized = _resized(image, _fitted(image, wanted, min), bicubic)
        case _:
            raise ValueError(f"unknown resize_mode {wanted.resize_mode!r}")
    return _centre(resized, wanted, fill=0)


def _filter(wanted: ImageInput) -> Image.Resampling:
    linear = wanted.interpolation == "bilinear"
    return Image.Resampling.BILINEAR if linear else Image.Resampling.BICUBIC


def _resized(
    image: Image.Image, size: tuple[int, int], resampling: Image.Resampling
) -> Image.Image:
    return image if image.size == size else image.resize(size, resampling)


def _short_side(image: Image.Image, side: int) -> tuple[int, int]:
    """Return the size at which the image's short side is `side` pixels."""
    if image.width <= image.height:
        return side, int(side * image.height / image.width)
    return int(side * image.width / image.height), side


def _fitted(
    image: Image.Image, wanted: ImageInput, of: Callable[[float, float], float]
) -> tuple[int, int]:
    """Return the image's size divided by the larger or smaller ratio of its sides to `wanted`.

    A thin image keeps a pixel, where open_clip would round its side to none and fail.
    """
    ratio = of(image.height / wanted.height, image.width / wanted.width)
    return max(1, round(image.width / ratio)), max(1, round(image.height / ratio))


def _centre(image: Image.Image, wanted: ImageInput, *, fill: int) -> Image.Image:
    """Return the image's centre, after filling up the sides that are too short."""
    wide, high = max(0, wanted.width - image.width), max(0, wanted.height - image.height)
    if wide or high:
        border = (wide // 2, high // 2, (wide + 1) // 2, (high + 1) // 2)
        image = ImageOps.expand(image, border, fill=(fill, fill, fill))
    left = round((image.width - wanted.width) / 2)
    top = round((image.height - wanted.height) / 2)
    box = (left, top, left + wanted.width, top + wanted.height)
    return image if image.size == (wanted.width, wanted.height) else image.crop(box)
