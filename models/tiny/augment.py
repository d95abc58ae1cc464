"""Cheap augmentation of whole batches: strong for emojis, light for photographs.

An emoji occurs in two or three styles only, so everything that distinguishes styles (shading, hue,
outline, waving flags, tilt, background) is varied. Images are floats from 0 to 1.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)


def background(pixels: Tensor) -> Tensor:
    """Return a mask of the white regions that touch the border, (images, 1, side, side).

    `pixels` are uint8 (images, 3, side, side).
    """
    white = (pixels.amin(1, keepdim=True) > 244).float()
    edge = torch.zeros_like(white[:1])
    edge[..., 0, :] = edge[..., -1, :] = edge[..., :, 0] = edge[..., :, -1] = 1.0
    reached = white * edge
    for _ in range(2 * pixels.shape[-1]):
        reached = F.max_pool2d(reached, 3, stride=1, padding=1) * white
    return reached.bool()


@dataclass(frozen=True, kw_only=True)
class Dice:
    """Random values from one private generator."""

    generator: torch.Generator

    def between(self, low: float, high: float, *shape: int) -> Tensor:
        """Draw uniform values from `low` to `high`."""
        return torch.rand(shape, generator=self.generator) * (high - low) + low

    def normal(self, *shape: int) -> Tensor:
        """Draw standard normal values."""
        return torch.randn(shape, generator=self.generator)

    def chance(self, probability: float, count: int) -> Tensor:
        """Draw booleans (count, 1, 1, 1), each true with the given probability."""
        return torch.rand(count, 1, 1, 1, generator=self.generator) < probability


def place(
    images: Tensor, dice: Dice, *, zoom: tuple[float, float], tilt: float, shift: float,
    stretch: float, flip: Tensor, wave: float = 0.0, outside: str = "border",
) -> Tensor:  # fmt: skip
    """Scale, stretch, rotate, shift and ripple the images; mirror those where `flip` is true.

    `flip` is (images,).
    """
    count = len(images)
    scale = torch.exp(dice.between(math.log(zoom[0]), math.log(zoom[1]), count))
    aspect = torch.exp(dice.between(-stretch, stretch, count))
    angle = dice.normal(count) * tilt
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = angle.cos() * scale * aspect
    theta[:, 0, 1] = -angle.sin() * scale * aspect
    theta[:, 1, 0] = angle.sin() * scale / aspect
    theta[:, 1, 1] = angle.cos() * scale / aspect
    theta[:, :, 0] *= torch.where(flip, -1.0, 1.0)[:, None]
    theta[:, :, 2] = dice.between(-shift, shift, count, 2)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    if wave:
        height = (dice.chance(0.3, count).float() * dice.between(0, wave, count, 1, 1, 1))[..., 0]
        length = dice.between(2.0, 6.0, count, 1, 1)
        phase = dice.between(0, 2 * math.pi, count, 1, 1)
        grid[..., 1] += height * torch.sin(grid[..., 0] * length + phase)
    return F.grid_sample(images, grid, padding_mode=outside, align_corners=False)


def recolour(images: Tensor, dice: Dice, *, chance: float, mix: float, light: float) -> Tensor:
    """Change contrast and brightness of all images; mix the channels of some, make some grey."""
    count = len(images)
    some = dice.chance(chance, count)[..., 0]  # (images, 1, 1)
    matrix = torch.eye(3) + some * dice.normal(count, 3, 3) * mix
    matrix = matrix / matrix.sum(2, keepdim=True).clamp(min=0.5)
    grey = dice.chance(chance / 5, count)[..., 0]
    matrix = torch.where(grey, torch.tensor([0.299, 0.587, 0.114]).expand(3, 3), matrix)
    gain = 1 + dice.between(-light, light, count, 1, 1)
    lift = dice.between(-light, light, count, 1, 1) / 2
    flat = torch.bmm(matrix * gain, images.flatten(2)) + (0.5 - 0.5 * gain) + lift
    return flat.view_as(images)


def redraw(images: Tensor, dice: Dice) -> Tensor:
    """Blur or sharpen a third of the images, and posterise half of the second third."""
    count = len(images)
    third = count // 3
    soft = F.avg_pool2d(images[:third], 3, stride=1, padding=1, count_include_pad=False)
    amount = dice.between(-0.8, 1.0, third, 1, 1, 1)  # negative values sharpen
    levels = dice.between(3, 8, third, 1, 1, 1).round()
    hard = (images[third : 2 * third] * levels).round() / levels
    some = dice.chance(0.5, third)
    return torch.cat(
        [
            torch.lerp(images[:third], soft, amount),
            torch.where(some, hard, images[third : 2 * third]),
            images[2 * third :],
        ]
    )


def erase(images: Tensor, dice: Dice, *, chance: float, side: int) -> Tensor:
    """Grey out one square in some images."""
    size = images.shape[-1]
    lines = torch.arange(size).view(1, 1, 1, size)
    top, left = dice.between(-side / 2, size - side / 2, 2, len(images), 1, 1, 1).unbind(0)
    across = (lines >= left) & (lines < left + side)
    down = (lines >= top) & (lines < top + side)
    hidden = across & down.transpose(2, 3) & dice.chance(chance, len(images))
    return images.masked_fill(hidden, 0.5)


def photos(pixels: Tensor, dice: Dice) -> Tensor:
    """Augment photographs: crop, mirror, vary light and colour slightly, sometimes erase a square.

    `pixels` are uint8 (images, 3, side, side).
    """
    images = pixels.float() / 255
    flip = dice.chance(0.5, len(images)).flatten()
    images = place(
        images, dice, zoom=(0.7, 1.1), tilt=0.08, shift=0.15, stretch=0.12, flip=flip,
        outside="reflection",
    )  # fmt: skip
    images = recolour(images, dice, chance=0.2, mix=0.1, light=0.2)
    return erase(images, dice, chance=0.25, side=24)


def drawings(pixels: Tensor, behind: Tensor, dice: Dice, *, mirror: Tensor) -> Tensor:
    """Augment emojis and clip art: vary colour, background, position and style; erase squares.

    `pixels` are uint8 (images, 3, side, side), `behind` is the mask of the background, bool
    (images, 1, side, side), and `mirror`, bool (images,), marks images that may be flipped.
    """
    count = len(pixels)
    images = pixels.float() / 255
    images = recolour(images, dice, chance=0.5, mix=0.15, light=0.3)
    side = images.shape[-1]
    corners = F.interpolate(dice.between(0, 1, count, 3, 2, 2), side, mode="bilinear")
    plain = dice.between(0, 1, count, 3, 1, 1).expand_as(corners)
    paper = torch.where(dice.chance(0.5, count), corners, plain)
    paper = torch.where(dice.chance(0.3, count), paper, torch.ones(()))
    images = torch.where(behind, paper, images)
    flip = mirror & dice.chance(0.4, count).flatten()
    images = place(
        images, dice, zoom=(0.75, 1.35), tilt=0.22, shift=0.15, stretch=0.2, flip=flip, wave=0.12
    )  # fmt: skip
    images = redraw(images, dice)
    return erase(images, dice, chance=0.3, side=20)


def normalise(images: Tensor) -> Tensor:
    """Clamp to [0, 1] and normalise as the config's preprocessing does."""
    scaled = (images.clamp(0, 1) - MEAN) / STD
    return scaled.contiguous(memory_format=torch.channels_last)
