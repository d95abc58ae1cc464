"""The images and texts by which an export is compared with its version."""

from collections.abc import Iterator
from itertools import islice

from core.domain.datasets.manifest import ManifestEntry
from core.domain.datasets.suite import Suite
from core.domain.recipes.class_lists import distinct
from core.domain.registry.version import Model, Version
from core.ports import Platform, Samples, UnitOfWork
from core.use_cases.datasets.manifests import read_remaining
from core.use_cases.registry.model_suites import suites_of

MOST_IMAGES = MOST_TEXTS = 32
SENTENCES = (  # beside those of the version and of the suites
    "a photo of a cat.",
    "Two children play football on a sunny beach, while a brown dog watches them.",
    "12 red apples & 3 pears: £4.50!",
)


def choose_samples(platform: Platform, work: UnitOfWork, model: Model, version: Version) -> Samples:
    """Return images of the model's suites, and texts of the version and the suites.

    The same suites always give the same samples: the images with the smallest digests. A model
    without suites has no images here.
    """
    suites = suites_of(work, model)
    entries = {
        entry.pixels: entry
        for suite in suites
        for entry in read_remaining(work, platform.artifacts, suite.manifest).entries
    }
    chosen = [entries[pixels] for pixels in sorted(entries)[:MOST_IMAGES]]
    texts = distinct(islice(_texts(version, suites, chosen), MOST_TEXTS - len(SENTENCES)))
    return Samples(images=tuple(entry.artifact for entry in chosen), texts=(*texts, *SENTENCES))


def _texts(
    version: Version, suites: tuple[Suite, ...], chosen: list[ManifestEntry]
) -> Iterator[str]:
    yield from version.prompt.fill_all(version.classes)
    for suite in suites:
        yield from suite.prompt.fill_all(suite.classes)
    for entry in chosen:
        yield from entry.texts
