"""The input of an image tower, as an open_clip config describes it, and its bytes in a request."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

DEFAULT_SIDE = 224  # open_clip's, for image towers and for preprocessing


@dataclass(frozen=True, kw_only=True)
class ImageInput:
    """The size of an image tower's input, and how an image is brought to it.

    The names and defaults are those of open_clip's `preprocess_cfg`.
    """

    height: int
    width: int
    resize_mode: str = "shortest"  # or longest, squash
    interpolation: str = "bicubic"  # or bilinear
    fill_color: int = 0  # 0 to 255, of what is added to an image in mode "longest"

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """Return the input of the image tower of an `open_clip_config.json`."""
        tower = config.get("model_cfg", {}).get("vision_cfg", {})
        return cls.with_size(
            config.get("preprocess_cfg", {}), tower.get("image_size", DEFAULT_SIDE)
        )

    @classmethod
    def with_size(
        cls, preprocess_cfg: Mapping[str, Any], size: int | tuple[int, int] | list[int]
    ) -> Self:
        """Return a `preprocess_cfg` for a tower with an input of this size: (height, width)."""
        height, width = (size, size) if isinstance(size, int) else size
        known = ("resize_mode", "interpolation", "fill_color")
        given = {key: preprocess_cfg[key] for key in known if preprocess_cfg.get(key) is not None}
        return cls(height=height, width=width, **given)

    @property
    def size(self) -> int:
        """The bytes of an image: 3 for each pixel."""
        return 3 * self.height * self.width


INPUT = struct.Struct(">II10s10si")  # height, width, resize mode, interpolation, fill colour


def pack_input(wanted: ImageInput) -> bytes:
    """Return the bytes that precede an image whose pixels are asked for."""
    names = wanted.resize_mode.encode(), wanted.interpolation.encode()
    return INPUT.pack(wanted.height, wanted.width, *names, wanted.fill_color)


def unpack_input(data: bytes) -> ImageInput:
    """Return what `pack_input` wrote to the beginning of `data`."""
    height, width, mode, interpolation, fill = INPUT.unpack_from(data)
    return ImageInput(
        height=height,
        width=width,
        resize_mode=mode.rstrip(b"\0").decode(),
        interpolation=interpolation.rstrip(b"\0").decode(),
        fill_color=fill,
    )
