"""The sandbox gives a tower the pixels that evaluation reads from the stored image."""

from collections.abc import Iterator

import pytest
from PIL import Image

from core.clip.inputs import Preprocess, read_image
from core.errors import ImageAnimated, ImageCorrupt, ImageTooLarge, UnsupportedImage
from core.images.child import pack_input, unpack_input
from core.images.sandbox import SandboxDecoder
from core.values import ImageInput
from tests.support.pictures import SIDE, encode, make_decoder, picture, png_of_zeros

WANTED = ImageInput(height=16, width=16)


@pytest.fixture(scope="module")
def decoder() -> Iterator[SandboxDecoder]:
    made = make_decoder()
    yield made
    made.close()


def rotated() -> bytes:
    """A photograph that its camera held sideways."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(picture(50, 30), "JPEG", exif=exif)


def animated() -> bytes:
    frames = [picture(20, 20), picture(20, 20).rotate(90)]
    return encode(frames[0], "GIF", save_all=True, append_images=frames[1:])


@pytest.mark.parametrize(
    "data",
    [
        encode(picture(40, 30), "JPEG"),
        encode(picture(3 * SIDE, SIDE), "JPEG"),  # it is stored smaller
        encode(picture(SIDE + 1, 2 * SIDE + 1), "PNG"),
        rotated(),
        encode(picture(40, 30, "LA"), "PNG"),
        encode(picture(40, 30, "P"), "GIF"),
        encode(picture(30, 40), "WEBP", quality=50),
    ],
    ids=["small", "wide", "high", "rotated", "transparent", "palette", "lossy"],
)
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [(16, 16), (80, 100)])
def test_pixels_are_those_of_the_stored_image_to_the_bit(
    decoder: SandboxDecoder, data: bytes, mode: str, size: tuple[int, int]
) -> None:
    config = {"resize_mode": mode, "interpolation": "bicubic"}
    given = decoder.pixels(data, ImageInput.with_size(config, size))
    evaluated = Preprocess.of(config, size).evaluation_pixels(read_image(decoder.decode(data).data))
    assert given == evaluated.permute(1, 2, 0).numpy().tobytes()


@pytest.mark.parametrize(
    ("data", "refusal"),
    [
        (b"no image", UnsupportedImage),
        (encode(picture(), "TIFF"), UnsupportedImage),
        (encode(picture(), "PNG")[:-40], ImageCorrupt),
        (png_of_zeros(2000, 2000), ImageTooLarge),
        (animated(), ImageAnimated),
    ],
    ids=["text", "tiff", "truncated", "huge", "animated"],
)
def test_what_is_not_stored_gives_no_pixels(
    decoder: SandboxDecoder, data: bytes, refusal: type[Exception]
) -> None:
    with pytest.raises(refusal):
        decoder.pixels(data, WANTED)
    assert len(decoder.pixels(encode(picture(), "PNG"), WANTED)) == WANTED.size


def test_a_reply_of_another_size_is_no_image(
    decoder: SandboxDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SandboxDecoder, "_ask", lambda *_, **__: bytes(WANTED.size - 1))
    with pytest.raises(ImageCorrupt):
        decoder.pixels(encode(picture(), "PNG"), WANTED)


def test_pixels_may_be_more_than_those_of_the_largest_stored_image(
    decoder: SandboxDecoder,
) -> None:
    large = ImageInput(height=1000, width=1000)
    assert len(decoder.pixels(encode(picture(), "PNG"), large)) == 3_000_000


def test_a_description_of_the_input_is_read_as_it_was_written() -> None:
    wanted = ImageInput(
        height=3, width=500, resize_mode="longest", interpolation="bilinear", fill_color=255
    )
    assert unpack_input(pack_input(wanted) + b"image") == wanted
