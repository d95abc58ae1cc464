"""The sandbox takes, refuses and stores images; its pixels are open_clip's to the bit."""

import io
import struct
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest
from PIL import Image

from core.clip.inputs import Preprocess, read_image
from core.clip.model import empty_network
from core.errors import ImageAnimated, ImageCorrupt, ImageTooLarge, UnsupportedImage
from core.images.decoder import DecodedImage
from core.images.inputs import ImageInput, pack_input, unpack_input
from core.images.pixels import tower_pixels
from core.images.sandbox import SandboxDecoder
from tests.support.learning.tiny_clip import CONFIG
from tests.support.pictures import SIDE, encode, make_decoder, picture, png_of_zeros

SIDEWAYS = Image.Exif()

SIDEWAYS[0x0112] = 6  # turn a quarter to the right

SIDEWAYS[0x010E] = "secret place"


@pytest.fixture(scope="module")
def decoder() -> Iterator[SandboxDecoder]:
    made = make_decoder()
    yield made
    made.close()


def stored(decoded: DecodedImage) -> Image.Image:
    image = Image.open(io.BytesIO(decoded.data))
    image.load()
    return image


# ---- What is taken ------------------------------------------------------------------------------


def test_stored_form_is_lossless_and_named_by_its_pixels(decoder: SandboxDecoder) -> None:
    decoded = decoder.decode(encode(picture(), "PNG"))
    image = stored(decoded)
    assert (image.format, image.mode) == ("WEBP", "RGB")
    assert image.tobytes() == picture().tobytes()
    size = struct.pack(">II", 40, 30)
    assert decoded.pixels == sha256(size + picture().tobytes()).hexdigest()


def test_every_kind_is_taken_and_the_same_pixels_have_one_form(decoder: SandboxDecoder) -> None:
    forms = [
        encode(picture(), "PNG", compress_level=0),
        encode(picture(), "PNG", compress_level=9, dpi=(72, 72)),
        encode(picture(), "BMP"),
        encode(picture(), "WEBP", lossless=True),
    ]
    assert len({decoder.decode(form) for form in forms}) == 1
    for kind in ("GIF", "JPEG"):  # which lose something
        assert stored(decoder.decode(encode(picture(), kind))).size == (40, 30)


def test_longest_side_is_bounded_and_nothing_is_enlarged(decoder: SandboxDecoder) -> None:
    wide = decoder.decode(encode(picture(400, 100), "PNG"))
    thread = decoder.decode(encode(picture(3000, 2), "PNG"))
    assert (wide.width, wide.height) == (64, 16)
    assert (thread.width, thread.height) == (64, 1)


def test_orientation_is_applied_and_metadata_dropped(decoder: SandboxDecoder) -> None:
    decoded = decoder.decode(encode(picture(), "PNG", exif=SIDEWAYS))
    assert (decoded.width, decoded.height) == (30, 40)
    assert stored(decoded).tobytes() == picture().transpose(Image.Transpose.ROTATE_270).tobytes()
    assert b"secret" not in decoded.data
    assert not stored(decoded).getexif()


def test_transparency_becomes_white(decoder: SandboxDecoder) -> None:
    for mode in ("RGBA", "LA"):
        clear = Image.new(mode, (4, 4), 0)
        assert stored(decoder.decode(encode(clear, "PNG"))).getpixel((1, 1)) == (255, 255, 255)
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.putpixel((0, 0), 0)
    decoded = stored(decoder.decode(encode(image, "PNG", transparency=0)))
    assert decoded.getpixel((0, 0)) == (255, 255, 255)
    assert decoded.getpixel((1, 1)) == (10, 20, 30)


def test_every_mode_becomes_rgb_and_sixteen_bits_are_scaled(decoder: SandboxDecoder) -> None:
    for mode, kind in (("1", "PNG"), ("L", "PNG"), ("P", "PNG"), ("CMYK", "JPEG")):
        assert stored(decoder.decode(encode(picture(mode=mode), kind))).mode == "RGB"
    grey = Image.new("I;16", (4, 4), 0x8000)
    assert stored(decoder.decode(encode(grey, "PNG"))).getpixel((0, 0)) == (128, 128, 128)


def test_zip_behind_a_jpeg_is_not_kept(decoder: SandboxDecoder) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("evil.txt", "payload" * 10)
    polyglot = encode(picture(), "JPEG") + packed.getvalue()
    assert zipfile.is_zipfile(io.BytesIO(polyglot))
    assert not zipfile.is_zipfile(io.BytesIO(decoder.decode(polyglot).data))


# ---- What is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"BM what a text",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        encode(picture(), "TIFF"),
        encode(picture(), "ICO"),
        encode(picture(), "PPM"),
    ],
)
def test_other_kinds_are_refused(decoder: SandboxDecoder, data: bytes) -> None:
    with pytest.raises(UnsupportedImage):
        decoder.decode(data)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP", "JPEG", "GIF"])
def test_half_an_image_is_refused(decoder: SandboxDecoder, kind: str) -> None:
    data = encode(picture(200, 150), kind)
    with pytest.raises(ImageCorrupt):
        decoder.decode(data[: len(data) // 2])


def test_pixels_are_counted_before_decoding(decoder: SandboxDecoder) -> None:
    head = png_of_zeros(5_100, 5_000)[:64]  # decoded first, it would be a broken file
    with pytest.raises(ImageTooLarge):
        decoder.decode(head)


# ---- More than one frame ------------------------------------------------------------------------


def frames(kind: str, count: int) -> bytes:
    first, *rest = (Image.new("RGB", (40, 30), (40 * n, 0, 0)) for n in range(count))
    out = io.BytesIO()
    first.save(out, kind, save_all=True, append_images=rest)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_is_refused_and_a_single_frame_of_it_taken(
    decoder: SandboxDecoder, kind: str
) -> None:
    with pytest.raises(ImageAnimated):
        decoder.decode(frames(kind, 2))
    assert decoder.decode(frames(kind, 1)).width == 40


def test_a_photograph_with_a_preview_behind_it_is_taken(decoder: SandboxDecoder) -> None:
    photograph = frames("MPO", 2)
    with Image.open(io.BytesIO(photograph)) as seen:
        assert getattr(seen, "n_frames", 1) == 2
    assert decoder.decode(photograph).width == 40


# ---- Previews -----------------------------------------------------------------------------------


WANTED = ImageInput(height=16, width=16)


@pytest.mark.parametrize(
    "data",
    [
        encode(picture(40, 30), "JPEG"),
        encode(picture(3 * SIDE, SIDE), "JPEG"),  # it is stored smaller
        encode(picture(SIDE + 1, 2 * SIDE + 1), "PNG"),
        encode(picture(50, 30), "JPEG", exif=SIDEWAYS),
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


def test_pixels_may_be_many_and_a_reply_of_another_size_is_no_image(
    decoder: SandboxDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = ImageInput(height=1000, width=1000)  # more than the largest stored image
    assert len(decoder.pixels(encode(picture(), "PNG"), large)) == 3_000_000
    monkeypatch.setattr(SandboxDecoder, "_ask", lambda *_, **__: bytes(WANTED.size - 1))
    with pytest.raises(ImageCorrupt):
        decoder.pixels(encode(picture(), "PNG"), WANTED)


def test_a_description_of_the_input_is_read_as_it_was_written() -> None:
    wanted = ImageInput(
        height=3, width=500, resize_mode="longest", interpolation="bilinear", fill_color=255
    )
    assert unpack_input(pack_input(wanted) + b"image") == wanted


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
