"""Small photograph-like JPEGs in folders named after their classes."""

import io
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = 10
QUALITY = 90
GRAIN = 4.0  # levels: the standard deviation of a sensor's noise


def write_jpegs(folder: Path, count: int, side: int) -> Sequence[Path]:
    """Write different JPEGs of `side` x `side` pixels, always the same ones; return their paths."""
    chance = np.random.default_rng(0)
    paths = []
    for number in range(count):
        path = folder / f"class {number % CLASSES}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_jpeg(chance, side))
        paths.append(path)
    return paths


def _jpeg(chance: np.random.Generator, side: int) -> bytes:
    """Return a picture of soft shapes in random colours and light, with a sensor's noise."""
    light, contrast = chance.uniform(60, 196, 3), chance.uniform(0.2, 0.9)
    coarse = light + contrast * chance.uniform(-128, 128, (9, 9, 3))
    smooth = Image.fromarray(coarse.clip(0, 255).astype(np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    grained = np.asarray(smooth) + chance.normal(0, GRAIN, (side, side, 3))
    out = io.BytesIO()
    Image.fromarray(grained.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def pack_zip(folder: Path, paths: Sequence[Path], archive: Path) -> None:
    """Write a zip of files, deflated as by most programs."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in paths:
            packed.write(path, path.relative_to(folder))


def pack_tar(folder: Path, paths: Sequence[Path], archive: Path) -> None:
    """Write a tar of files."""
    with tarfile.open(archive, "w") as packed:
        for path in paths:
            packed.add(path, path.relative_to(folder))
