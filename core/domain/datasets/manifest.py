"""Manifests, the exact images of dataset versions and suites."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from core.domain.datasets.dataset import DatasetImage, DatasetKind, Image
from core.domain.datasets.split import Part, Side, part_of, side_of
from core.domain.values import Digest, Json, canonical_json
from core.errors import DatasetEmpty, TooFewPerClass

MIN_TRAIN_PER_CLASS = 2


@dataclass(frozen=True, kw_only=True)
class ManifestEntry:
    """One line of a manifest: an image, its stored bytes, its class or captions."""

    pixels: Digest
    artifact: Digest
    texts: tuple[str, ...]
    near_duplicate_of: Digest | None = None  # the oldest image of its group; None if this is it

    @property
    def group(self) -> Digest:
        """The group of near-duplicates it belongs to, identified by the oldest image."""
        return self.near_duplicate_of or self.pixels

    @property
    def side(self) -> Side:
        """The side that this image is on."""
        return side_of(self.group)

    @property
    def part(self) -> Part:
        """The part that this image is in, as a suite or holdout image."""
        return part_of(self.group)

    @property
    def class_name(self) -> str:
        """The class of an image in a labelled dataset."""
        return self.texts[0]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The exact images of a dataset version or suite, sorted; its digest names them."""

    kind: DatasetKind
    entries: tuple[ManifestEntry, ...]

    @classmethod
    def of(cls, kind: DatasetKind, images: Iterable[DatasetImage]) -> "Manifest":
        """Return the manifest of a dataset's present images. Raises DatasetEmpty."""
        texts: dict[Digest, list[str]] = {}
        found: dict[Digest, Image] = {}
        for row in images:
            texts.setdefault(row.image.pixels, []).append(row.text)
            found[row.image.pixels] = row.image
        if not texts:
            raise DatasetEmpty
        return cls(
            kind=kind,
            entries=tuple(
                ManifestEntry(
                    pixels=pixels,
                    artifact=found[pixels].artifact,
                    texts=tuple(sorted(texts[pixels])),
                    near_duplicate_of=found[pixels].near_duplicate_of,
                )
                for pixels in sorted(texts)
            ),
        )

    def without(self, pixels: Collection[Digest]) -> "Manifest":
        """Return the manifest without some images; maybe without any."""
        kept = tuple(entry for entry in self.entries if entry.pixels not in pixels)
        return replace(self, entries=kept)

    @property
    def classes(self) -> tuple[str, ...]:
        """All class names, sorted (empty for captions)."""
        if self.kind is DatasetKind.CAPTIONED:
            return ()
        return tuple(sorted({entry.class_name for entry in self.entries}))

    def on(self, side: Side) -> tuple[ManifestEntry, ...]:
        """Return the entries on one side."""
        return tuple(entry for entry in self.entries if entry.side is side)

    def counts(self) -> dict[str, dict[str, int]]:
        """Count the images per class and side: `{class: {"train": n, "holdout": m}}`."""
        found = Counter((entry.class_name, entry.side) for entry in self.entries)
        return {name: {side.value: found[name, side] for side in Side} for name in self.classes}

    def require_trainable(self) -> None:
        """Raise TooFewPerClass unless every class has enough images on the training side."""
        least = MIN_TRAIN_PER_CLASS
        poor = {
            name: sides["train"] for name, sides in self.counts().items() if sides["train"] < least
        }
        if poor:
            raise TooFewPerClass(
                f"These classes have fewer than {least} training images "
                f"(a fifth of the images is held out): {', '.join(sorted(poor))}.",
                classes=poor,
                least=least,
            )

    def to_bytes(self) -> bytes:
        """Return the canonical JSON whose SHA-256 is this manifest's digest."""
        return canonical_json(
            {
                "kind": self.kind.value,
                "entries": [_to_json(entry) for entry in self.entries],
            }
        )

    @classmethod
    def from_json(cls, value: Json) -> "Manifest":
        """Return the manifest whose JSON `to_bytes` wrote."""
        return cls(
            kind=DatasetKind(value["kind"]),
            entries=tuple(
                ManifestEntry(
                    pixels=pixels,
                    artifact=artifact,
                    texts=tuple(texts),
                    near_duplicate_of=older[0] if older else None,
                )
                for pixels, artifact, texts, *older in value["entries"]
            ),
        )


def _to_json(entry: ManifestEntry) -> list[Any]:
    # Without near-duplicates there is no fourth item, so that older manifests keep their digests.
    older = [entry.near_duplicate_of] if entry.near_duplicate_of else []
    return [entry.pixels, entry.artifact, list(entry.texts), *older]
