"""Views of an image: small changes that do not change what it shows.

A version that is barely right on an image is wrong on some of its views. So the share of views that
it has right varies less from version to version than whether it has the image itself right.
"""

from dataclasses import dataclass

from PIL import Image, ImageOps

from core.values import Digest, sha256

LEAST_SIDE = 0.9  # of the image's own, both sides alike


@dataclass(frozen=True, kw_only=True)
class View:
    """A view by its number, from 1; `mirror` says whether half of the images may be mirrored."""

    number: int
    mirror: bool

    def of(self, image: Image.Image, pixels: Digest) -> Image.Image:
        """Return the view of an image with these pixels: always the same.

        It is a crop to 90 to 100 % of both sides, anywhere, and perhaps mirrored.
        """
        drawn = bytes.fromhex(sha256(f"view {self.number} of {pixels}".encode()))
        size, left, top, side = (int.from_bytes(drawn[4 * i :][:4]) / 2**32 for i in range(4))
        share = LEAST_SIDE + (1 - LEAST_SIDE) * size
        width, height = (max(1, round(share * length)) for length in image.size)
        x, y = round(left * (image.width - width)), round(top * (image.height - height))
        view = image.crop((x, y, x + width, y + height))
        return ImageOps.mirror(view) if self.mirror and side < 0.5 else view
