"""Outcomes: a version's right and wrong answers image by image, kept in small files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Hits = NDArray[np.bool_]  # (answers,)
CAPTIONS = "text to image"  # the one question that has several answers for an image


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """A version's hits on each question; `captions` is how many captions each image has."""

    hits: Mapping[str, Hits]
    captions: NDArray[np.int64]  # (images of the captioned set,)

    def accuracy(self, question: str) -> float:
        """Return the share of right answers on a question's whole pool."""
        return float(self.hits[question].mean())


def save(path: Path, outcomes: Outcomes) -> None:
    """Write outcomes to a file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new.npz")
    arrays: dict[str, Any] = {"captions": outcomes.captions, **outcomes.hits}
    np.savez_compressed(temporary, **arrays)
    temporary.replace(path)


def read(path: Path) -> Outcomes:
    """Return the outcomes that `save` wrote. Raises FileNotFoundError."""
    with np.load(path) as file:
        hits = {name: file[name] for name in file.files if name != "captions"}
        return Outcomes(hits=hits, captions=file["captions"])


def read_all(folder: Path) -> dict[str, Outcomes]:
    """Read every version's outcomes, by the version's name in order."""
    found = sorted(path for path in folder.glob("*.npz") if not path.name.endswith(".new.npz"))
    return {path.stem: read(path) for path in found}
