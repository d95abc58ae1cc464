"""The sources of a calibration: images whose classes exclude each other."""

from collections.abc import Iterable, Iterator

from core.domain.datasets.manifest import ManifestEntry
from core.domain.datasets.split import Part
from core.domain.recipes.class_lists import distinct
from core.domain.recipes.prompt import PromptTemplate
from core.domain.rejection.calibrate import MIN_IMAGES
from core.domain.rejection.query import MOST_IMAGES, CalibrationSource


def source_of(
    name: str, entries: Iterable[ManifestEntry], classes: Iterable[str], prompt: PromptTemplate
) -> CalibrationSource | None:
    """Return a source of up to `MOST_IMAGES` images in each part, or None if it has too few.

    Images of other classes are left out. Of an image that is there twice, the last counts.
    """
    known = distinct(classes)
    names = {one.lower() for one in known}
    by_pixels = {entry.pixels: entry for entry in entries if entry.class_name.lower() in names}
    images = [by_pixels[pixels] for pixels in sorted(by_pixels)]  # in an order that is random
    parts = [[entry for entry in images if entry.part is part] for part in Part]
    if len(known) < 2 or min(map(len, parts)) < MIN_IMAGES:
        return None
    return CalibrationSource(name=name, entries=tuple(_first(parts)), classes=known, prompt=prompt)


def _first(parts: Iterable[list[ManifestEntry]]) -> Iterator[ManifestEntry]:
    for part in parts:
        yield from part[:MOST_IMAGES]
