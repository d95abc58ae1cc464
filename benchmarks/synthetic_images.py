"""Synthetic pictures in an artifact store."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from core.domain.datasets.manifest import ManifestEntry
from core.ports import Artifacts


def stored_pictures(
    artifacts: Artifacts, classes: Sequence[str], *, side: int
) -> tuple[ManifestEntry, ...]:
    """Store one smooth random picture for each class named, always the same ones.

    Their sides are a seventh longer than `side` pixels. They are stored as the service stores
    images, in lossless WebP.
    """
    chance = np.random.default_rng(0)
    entries = []
    for name in classes:
        coarse = chance.integers(0, 256, (9, 9, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((side * 8 // 7,) * 2, Image.Resampling.BICUBIC)
        out = io.BytesIO()
        picture.save(out, "WEBP", lossless=True)
        digest = artifacts.put(out.getvalue())
        entries.append(ManifestEntry(pixels=digest, artifact=digest, texts=(name,)))
    return tuple(entries)
