"""Advice on the images of a dataset version."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.domain.advice.finding import Finding, Severity, listed
from core.domain.datasets.manifest import Manifest
from core.domain.datasets.split import Part, Side
from core.domain.values import counted

FEW = 16  # training images of a class: the most that few-shot studies of CLIP use


@dataclass(frozen=True, kw_only=True)
class ClassImages:
    """The images of one class."""

    name: str
    train: int
    holdout: int
    test: int  # of the holdout: those that the verdict is based on


def images_per_class(manifest: Manifest) -> tuple[ClassImages, ...]:
    """Count the images of each class."""
    tests = Counter(
        entry.class_name for entry in manifest.on(Side.HOLDOUT) if entry.part is Part.TEST
    )
    return tuple(
        ClassImages(name=name, train=sides["train"], holdout=sides["holdout"], test=tests[name])
        for name, sides in manifest.counts().items()
    )


def image_findings(manifest: Manifest, classes: Sequence[ClassImages]) -> Iterator[Finding]:
    """Yield what the numbers of images say; `classes` are the manifest's."""
    train, holdout, test = (
        sum(getattr(row, side) for row in classes) for side in ("train", "holdout", "test")
    )
    yield Finding(
        code="images",
        severity=Severity.INFO,
        message=f"The dataset has {counted(train, 'training image')} and a holdout of "
        f"{counted(holdout, 'image')}. The verdict is based on {counted(test, 'test image')} of "
        "the holdout.",
        facts={"train": train, "holdout": holdout, "test": test},
    )
    few = {row.name: row.train for row in classes if row.train < FEW}
    if few:
        shown = listed([f"{name} ({count})" for name, count in few.items()])
        yield Finding(
            code="few_training_images",
            severity=Severity.WARNING,
            message=f"These classes have fewer than {FEW} training images: {shown}. "
            "Add images of them.",
            facts={"classes": few, "least": FEW},
        )
    untested = [row.name for row in classes if not row.test]
    if untested:
        yield Finding(
            code="no_test_images",
            severity=Severity.WARNING,
            message=f"These classes have no test image, so the verdict does not cover them: "
            f"{listed(untested)}. Add images of them: about one in six becomes a test image.",
            facts={"classes": untested},
        )
    yield from _near_duplicates(manifest)


def _near_duplicates(manifest: Manifest) -> Iterator[Finding]:
    sizes = Counter(entry.group for entry in manifest.entries)
    groups = [size for size in sizes.values() if size > 1]
    if groups:
        images = sum(groups)
        yield Finding(
            code="near_duplicates",
            severity=Severity.INFO,
            message=f"{images:,} of {counted(len(manifest.entries), 'image')} are near-duplicates "
            f"of one another, in {counted(len(groups), 'group')}. A group teaches hardly more than "
            "one image does.",
            facts={"images": images, "groups": len(groups)},
        )
