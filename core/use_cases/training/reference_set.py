"""The reference set of an update: images whose similarities an update must keep."""

from dataclasses import replace

from core.domain.datasets.dataset import DatasetKind
from core.domain.datasets.manifest import Manifest, ManifestEntry
from core.domain.datasets.split import Side
from core.domain.jobs.order import UpdateOrder
from core.domain.recipes.choices import LossTerm
from core.domain.recipes.prompt import PromptTemplate
from core.errors import FieldInvalid
from core.ports import UnitOfWork
from core.use_cases.datasets.freeze import without_suite_images

POINTER = "/reference"


def require_reference(order: UpdateOrder) -> None:
    """Raise FieldInvalid unless the order names a reference set just where one is needed."""
    needs = LossTerm.REFERENCE in order.recipe.terms
    if needs and order.reference is None:
        raise FieldInvalid(
            "The term 'reference' requires a reference set: name a dataset version.",
            pointer=POINTER,
        )
    if not needs and order.reference is not None:
        raise FieldInvalid(
            "Only the term 'reference' takes a reference set, and this recipe does not have it.",
            pointer=POINTER,
        )


def reference_entries(
    work: UnitOfWork, manifest: Manifest, prompt: PromptTemplate
) -> tuple[ManifestEntry, ...]:
    """Return the images of a reference set that may be seen in training, each with its sentences.

    Captions are used as they are, classes in the parent's `prompt`. Images of a suite, their
    near-duplicates and those on the holdout side are left out. Raises FieldInvalid when no image
    is left.
    """
    entries = without_suite_images(work, manifest.on(Side.TRAIN))
    if not entries:
        raise FieldInvalid(
            "The reference set has no image to train on: all are in suites or held out.",
            pointer=POINTER,
        )
    if manifest.kind is DatasetKind.CAPTIONED:
        return entries
    return tuple(replace(entry, texts=prompt.fill_all(entry.texts)) for entry in entries)
