"""Untrusted images, decoded by real processes."""

import io
import os
import signal
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any

import psutil
import pytest
from PIL import Image

from core.adapters.images import process as processes
from core.adapters.images.process import DecodingProcess
from core.adapters.images.sandbox import SandboxDecoder
from core.errors import ImageCorrupt, ImageTooLarge, UnsupportedImage
from core.ports import DecodedImage

SIDE = 64
MAX_PIXELS = 1_000_000


def make_decoder(**changes: Any) -> SandboxDecoder:
    limits = {
        "processes": 1,
        "seconds": 10.0,
        "memory_bytes": 512 * 1024 * 1024,
        "max_pixels": MAX_PIXELS,
        "stored_side": SIDE,
    }
    return SandboxDecoder(**{**limits, **changes})


@pytest.fixture(scope="module")
def decoder() -> Iterator[SandboxDecoder]:
    made = make_decoder()
    yield made
    made.close()


def picture(width: int = 40, height: int = 30, mode: str = "RGB") -> Image.Image:
    """A picture without any symmetry: red grows to the right, green downwards."""
    ramp = Image.linear_gradient("L")
    red, green = ramp.rotate(90).resize((width, height)), ramp.resize((width, height))
    made = Image.merge("RGB", (red, green, Image.new("L", (width, height), 60)))
    return made.convert(mode)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def stored(decoded: DecodedImage) -> Image.Image:
    image = Image.open(io.BytesIO(decoded.data))
    image.load()
    return image


# ---- What is taken ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP", "GIF", "JPEG"])
def test_every_kind_we_name_is_taken(decoder: SandboxDecoder, kind: str) -> None:
    decoded = decoder.decode(encode(picture(), kind))
    assert (decoded.width, decoded.height) == (40, 30)
    assert stored(decoded).size == (40, 30)


def test_stored_form_is_lossless_and_named_by_its_pixels(decoder: SandboxDecoder) -> None:
    decoded = decoder.decode(encode(picture(), "PNG"))
    image = stored(decoded)
    assert (image.format, image.mode) == ("WEBP", "RGB")
    assert image.tobytes() == picture().tobytes()
    size = struct.pack(">II", 40, 30)
    assert decoded.pixels == sha256(size + picture().tobytes()).hexdigest()


def test_same_pixels_have_one_form_whatever_the_file(decoder: SandboxDecoder) -> None:
    forms = [
        encode(picture(), "PNG", compress_level=0),
        encode(picture(), "PNG", compress_level=9, dpi=(72, 72)),
        encode(picture(), "BMP"),
        encode(picture(), "WEBP", lossless=True),
    ]
    assert len({decoder.decode(form) for form in forms}) == 1


def test_longest_side_is_bounded_and_nothing_is_enlarged(decoder: SandboxDecoder) -> None:
    wide = decoder.decode(encode(picture(400, 100), "PNG"))
    thread = decoder.decode(encode(picture(3000, 2), "PNG"))
    assert (wide.width, wide.height) == (64, 16)
    assert (thread.width, thread.height) == (64, 1)


def test_orientation_is_applied_and_metadata_dropped(decoder: SandboxDecoder) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter to the right
    exif[0x010E] = "secret place"
    decoded = decoder.decode(encode(picture(), "PNG", exif=exif))
    assert (decoded.width, decoded.height) == (30, 40)
    assert stored(decoded).tobytes() == picture().transpose(Image.Transpose.ROTATE_270).tobytes()
    assert b"secret" not in decoded.data
    assert not stored(decoded).getexif()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_becomes_white(decoder: SandboxDecoder, mode: str) -> None:
    clear = Image.new(mode, (4, 4), 0)
    assert stored(decoder.decode(encode(clear, "PNG"))).getpixel((1, 1)) == (255, 255, 255)


def test_palette_with_a_transparent_colour_becomes_white(decoder: SandboxDecoder) -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.putpixel((0, 0), 0)
    decoded = stored(decoder.decode(encode(image, "PNG", transparency=0)))
    assert decoded.getpixel((0, 0)) == (255, 255, 255)
    assert decoded.getpixel((1, 1)) == (10, 20, 30)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK"])
def test_every_mode_becomes_rgb(decoder: SandboxDecoder, mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert stored(decoder.decode(encode(picture(mode=mode), kind))).mode == "RGB"


def test_sixteen_bits_are_scaled_not_clipped(decoder: SandboxDecoder) -> None:
    grey = Image.new("I;16", (4, 4), 0x8000)
    assert stored(decoder.decode(encode(grey, "PNG"))).getpixel((0, 0)) == (128, 128, 128)


def test_first_frame_of_an_animation_is_taken(decoder: SandboxDecoder) -> None:
    red, blue = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    data = encode(red, "GIF", save_all=True, append_images=[blue])
    assert stored(decoder.decode(data)).getpixel((0, 0)) == (255, 0, 0)


def test_near_duplicates_share_a_hash_and_mirrors_do_not(decoder: SandboxDecoder) -> None:
    plain = decoder.decode(encode(picture(60, 60), "PNG")).dhash
    photo = decoder.decode(encode(picture(60, 60), "JPEG", quality=90)).dhash
    mirrored = picture(60, 60).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert len(plain) == 16
    assert bin(int(plain, 16) ^ int(photo, 16)).count("1") <= 4
    other = decoder.decode(encode(mirrored, "PNG")).dhash
    assert bin(int(plain, 16) ^ int(other, 16)).count("1") > 32


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


@pytest.mark.parametrize("magic", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a"])
def test_magic_with_noise_behind_is_refused(decoder: SandboxDecoder, magic: bytes) -> None:
    noise = bytes(range(256)) * 4
    with pytest.raises(ImageCorrupt):
        decoder.decode(magic + noise)


def test_pixels_are_counted_before_decoding(decoder: SandboxDecoder) -> None:
    began = time.monotonic()
    with pytest.raises(ImageTooLarge):
        decoder.decode(png_of_zeros(12_000, 12_000))
    assert time.monotonic() - began < 1


def test_image_that_needs_too_much_memory_is_refused_and_the_next_one_served() -> None:
    small = make_decoder(max_pixels=10**9, memory_bytes=300 * 1024 * 1024)
    with pytest.raises(ImageTooLarge):
        small.decode(png_of_zeros(12_000, 12_000))
    assert small.decode(encode(picture(), "PNG")).width == 40
    small.close()


def png_of_zeros(width: int, height: int) -> bytes:
    """A small file of very many pixels: one black bit each would do, this one has three bytes."""
    rows = zlib.compressobj(9)
    row = bytes(1 + 3 * width)
    packed = b"".join([*(rows.compress(row) for _ in range(64)), rows.flush()])
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", packed), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


# ---- The processes ------------------------------------------------------------------------------


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


def test_one_process_decodes_many_images() -> None:
    one = make_decoder()
    before = children()
    data = encode(picture(), "PNG")
    one.decode(data)
    [child] = children() - before
    for _ in range(20):
        one.decode(data)
    assert children() - before == {child}
    one.close()
    assert children() == before


def test_killed_process_is_replaced_without_the_caller_noticing() -> None:
    one = make_decoder()
    before = children()
    data = encode(picture(), "PNG")
    first = one.decode(data)
    [child] = children() - before
    os.kill(child, signal.SIGKILL)
    assert one.decode(data) == first
    one.close()


def test_process_that_hangs_is_killed_and_the_next_image_served() -> None:
    one = make_decoder(seconds=0.5)
    before = children()
    data = encode(picture(), "PNG")
    one.decode(data)
    [child] = children() - before
    os.kill(child, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(ImageCorrupt):
        one.decode(data)
    assert time.monotonic() - began < 5
    assert not psutil.pid_exists(child)
    assert one.decode(data).width == 40
    one.close()


def test_image_that_kills_its_process_is_corrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def die(self: DecodingProcess, data: bytes) -> tuple[bytes, bytes]:
        started.append(self)
        raise EOFError

    monkeypatch.setattr(DecodingProcess, "_ask", die)
    with pytest.raises(ImageCorrupt):
        make_decoder().decode(encode(picture(), "PNG"))
    assert len(started) == 2  # tried once more: the first process may have died of something else


def test_process_knows_no_secret_and_cannot_write_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PERENNIAL_ADMIN_KEY", "secret")
    one = make_decoder()
    before = children()
    one.decode(encode(picture(), "PNG"))
    [child] = children() - before
    seen = psutil.Process(child)
    assert "PERENNIAL_ADMIN_KEY" not in seen.environ()
    assert seen.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
    assert seen.rlimit(psutil.RLIMIT_AS) == (512 * 1024 * 1024,) * 2
    one.close()


def test_process_ends_with_its_parent() -> None:
    code = """
from core.adapters.images.sandbox import SandboxDecoder
import sys, time
one = SandboxDecoder(processes=1, seconds=9, memory_bytes=2**29, max_pixels=10**6, stored_side=64)
try:
    one.decode(bytes.fromhex("89504e470d0a1a0a"))
except Exception:
    print(one._processes[0]._process.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert psutil.pid_exists(child)
        parent.kill()
    deadline = time.monotonic() + 5
    while is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_alive(child)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_reply_that_no_image_could_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes.Limits, "reply_bytes", property(lambda self: 8))
    one = make_decoder()
    with pytest.raises(ImageCorrupt):
        one.decode(encode(picture(), "PNG"))
    one.close()


def test_threads_share_the_processes() -> None:
    two = make_decoder(processes=2)
    pictures = [encode(picture(40 + n % 7, 30), "PNG") for n in range(60)]
    with ThreadPoolExecutor(6) as pool:
        widths = [decoded.width for decoded in pool.map(two.decode, pictures)]
    assert widths == [40 + n % 7 for n in range(60)]
    two.close()
