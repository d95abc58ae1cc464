"""An image as the service sees it: upright, in RGB, no larger than it is stored, cut for a tower.

With Pillow alone: it runs in the confined process that decodes untrusted images, and a copy of it
beside each version that `perennial mlflow mirror` makes loadable.
"""

from collections.abc import Callable

from PIL import Image, ImageOps

from core.images.inputs import ImageInput

WHITE = (255, 255, 255)


def kind_of(data: bytes) -> str | None:
    """Return Pillow's name of the format, judged by the first bytes, or None if not accepted."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:6] in {b"GIF87a", b"GIF89a"}:
        return "GIF"
    if data[:2] == b"BM" and data[14:18] in {bytes([size, 0, 0, 0]) for size in BMP_HEADERS}:
        return "BMP"
    return None


BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # bytes


def stored_form(image: Image.Image, side: int) -> Image.Image:
    """Return a decoded image as it is stored: upright, in RGB, its longest side at most `side`."""
    ImageOps.exif_transpose(image, in_place=True)
    return shrink(flatten(image), side)


def flatten(image: Image.Image) -> Image.Image:
    """Return the image in RGB on a white ground, with 8 bits per channel."""
    if image.mode.startswith("I"):  # 16 bits of grey; Pillow would clip, not scale them
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    ground = Image.new("RGB", layer.size, WHITE)
    ground.paste(layer, mask=layer.getchannel("A"))
    return ground


def shrink(image: Image.Image, side: int) -> Image.Image:
    """Return the image, reduced if need be so that its longest side is at most `side`."""
    longest = max(image.size)
    if longest <= side:
        return image
    size = tuple(max(1, round(length * side / longest)) for length in image.size)
    return image.resize((size[0], size[1]), Image.Resampling.LANCZOS)


# The geometry of evaluation: an image becomes the pixels that an image tower takes.
#
# It is that of open_clip's evaluation transform, in Pillow alone, so that the confined process that
# decodes untrusted images computes the very pixels that evaluation computes.


def tower_pixels(image: Image.Image, wanted: ImageInput) -> Image.Image:
    """Return an RGB image resized and cropped to a tower's input."""
    match wanted.resize_mode:
        case "squash":
            return _resized(image, (wanted.width, wanted.height), filter_of(wanted))
        case "longest":
            resized = _resized(image, _fitted(image, wanted, max), filter_of(wanted))
            return _centre(resized, wanted, fill=wanted.fill_color)
        case "shortest" if wanted.width == wanted.height:
            resized = _resized(image, _short_side(image, wanted.width), filter_of(wanted))
        case "shortest":  # here open_clip always takes the bicubic filter
            bicubic = Image.Resampling.BICUBIC
            resized = _resized(image, _fitted(image, wanted, min), bicubic)
        case _:
            raise ValueError(f"unknown resize_mode {wanted.resize_mode!r}")
    return _centre(resized, wanted, fill=0)


def filter_of(wanted: ImageInput) -> Image.Resampling:
    """Return the filter by which images are resized."""
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
