"""A monitor that ignores all progress."""

import io
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from core.artifacts.store import Artifacts
from core.datasets.manifests import ManifestEntry, Split
from core.jobs.rules import EventKind
from core.values import Digest, Json


class NullMonitor:
    """ports.Monitor that reports nothing and never stops a run."""

    def advance(
        self, phase: str, step: int, total: int, terms: Mapping[str, float] | None = None
    ) -> None:
        """Ignore the progress."""

    def checkpoint_due(self) -> bool:
        """Return False: no checkpoint is ever due."""
        return False

    def moved(self, count: int) -> None:
        """Ignore the bytes."""

    def skip_checkpoint(self, step: int, facts: Json) -> None:
        """Do nothing; never called, because no checkpoint is due."""

    def save_checkpoint(self, digest: Digest, step: int) -> None:
        """Do nothing; never called, because no checkpoint is due."""

    def emit(self, kind: EventKind, data: Json) -> None:
        """Ignore the event."""


# The output of every benchmark: a table on the terminal and a JSON file.


OUT = Path(__file__).parent / "out"


def publish(name: str, rows: Sequence[Mapping[str, Any]], **facts: Any) -> None:
    """Print rows as a table and write them, with facts of the machine, to `out/<name>.json`."""
    write(name, rows, **facts)
    show(name, rows)
    print(f"written to {OUT / name}.json")


def write(name: str, rows: Sequence[Mapping[str, Any]], **facts: Any) -> None:
    """Write rows, with facts of the machine, to `out/<name>.json`."""
    OUT.mkdir(exist_ok=True)
    machine = machine_with(**facts)
    text = json.dumps({"machine": machine, "rows": rows}, indent=2, default=str)
    (OUT / f"{name}.json").write_text(text)


def machine_with(**facts: Any) -> dict[str, Any]:
    """Return facts of the machine, and further facts that hold for all rows."""
    return {"processor": platform.machine(), "cores": os.cpu_count(), **facts}


def show(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows as a table."""
    table = Table(title=title)
    for column in rows[0]:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()))
    Console(width=160).print(table)


# Images, and synthetic pictures in an artifact store.


def entry_of(pixels: Digest, artifact: Digest, *texts: str) -> ManifestEntry:
    """Return an image where its digest alone puts it."""
    split = Split()
    side, part = split.side_of(pixels), split.part_of(pixels)
    return ManifestEntry(pixels=pixels, artifact=artifact, texts=texts, side=side, part=part)


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
        entries.append(entry_of(digest, digest, name))
    return tuple(entries)
