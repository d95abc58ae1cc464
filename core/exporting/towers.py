"""A model as what its users ask it: images and texts in, features out."""

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Towers:
    """Both towers with their preprocessing; features are rows, normalised or not."""

    images: Callable[[list[Image.Image]], Tensor]
    texts: Callable[[list[str]], Tensor]
