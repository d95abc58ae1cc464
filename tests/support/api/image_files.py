"""Image files of every kind that a client may send."""

import functools
import itertools
import random

from PIL import Image

from core.datasets.manifests import Side
from core.images.child import HEAD, decode
from core.values import Digest
from tests.support.factories import by_hash, side_of
from tests.support.pictures import encode


def picture(seed: int, *, file_format: str = "PNG", side: int = 12) -> bytes:
    """A small picture that looks like no other seed's."""
    pixels = random.Random(seed).randbytes(side * side * 3)
    return encode(Image.frombytes("RGB", (side, side), pixels), file_format)


def image_part(seed: int) -> tuple[str, tuple[str, bytes]]:
    """A picture as a part of a form of images."""
    return "images", (f"{seed}.png", picture(seed))


def photograph(seed: int, *, quality: int, side: int = 48) -> bytes:
    """A JPEG of soft colours that looks like no other seed's, at any quality."""
    colours = Image.frombytes("RGB", (6, 6), random.Random(seed).randbytes(6 * 6 * 3))
    soft = colours.resize((side, side), Image.Resampling.BICUBIC)
    return encode(soft, "JPEG", quality=quality)


@functools.cache
def _seen(seed: int) -> tuple[bytes, Digest]:
    """A picture, and the decoder's digest of its pixels."""
    data = picture(seed)
    _, decoded = decode(data, max_pixels=25_000_000, side=512)
    return data, Digest(HEAD.unpack_from(decoded)[2].hex())


def picture_sides(count: int) -> dict[Digest, Side]:
    """The sides of the first pictures if the shares of their classes move none."""
    return by_hash(_seen(seed)[1] for seed in range(count))


def pictures_on(side: Side, count: int, first: int = 0) -> tuple[bytes, ...]:
    """Pictures that fall on one side, as the service will see them."""
    seen = map(_seen, itertools.count(first))
    return tuple(itertools.islice((data for data, its in seen if side_of(its) is side), count))


def truncated() -> bytes:
    """A JPEG that stops half-way."""
    whole = picture(1, file_format="JPEG", side=64)
    return whole[: len(whole) // 2]


def huge() -> bytes:
    """A PNG whose header says 6,000 x 6,000."""
    return encode(Image.new("1", (6000, 6000)), "PNG")


def frames(file_format: str, count: int = 2) -> bytes:
    """A file of several pictures that differ."""
    first, *rest = (Image.new("RGB", (12, 12), (40 * n, 0, 0)) for n in range(count))
    return encode(first, file_format, save_all=True, append_images=rest)


def tiff() -> bytes:
    return picture(1, file_format="TIFF")
