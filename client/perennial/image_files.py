"""Images to send, on disk or in memory."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """An image in memory, as the bytes of a file."""

    file_name: str
    data: bytes


Image = Path | ImageFile


def in_memory(image: Image) -> ImageFile:
    """Return an image with its bytes, which are read now if it is on disk. Raises OSError."""
    if isinstance(image, ImageFile):
        return image
    return ImageFile(file_name=image.name, data=image.read_bytes())


def form_file(name: str, image: ImageFile) -> tuple[str, tuple[str, bytes]]:
    """Return an image as a file field of a form, in the shape that httpx takes."""
    return name, (image.file_name, image.data)
