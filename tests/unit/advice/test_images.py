"""Advice on the numbers of images and on near-duplicates."""

from dataclasses import replace

from core.advice.findings import ClassImages, Severity, image_findings, images_per_class
from core.datasets.manifests import Manifest, ManifestEntry, Part, Side, part_of, side_of
from core.datasets.rules import DatasetKind
from core.values import Digest
from tests.support.factories import digest

GROUPS = [digest(n) for n in range(200)]

TRAIN = [one for one in GROUPS if side_of(one) is Side.TRAIN]

TEST = [g for g in GROUPS if (side_of(g), part_of(g)) == (Side.HOLDOUT, Part.TEST)]

VALIDATION = [g for g in GROUPS if (side_of(g), part_of(g)) == (Side.HOLDOUT, Part.VALIDATION)]


def entry(pixels: Digest, name: str) -> ManifestEntry:
    return ManifestEntry(pixels=pixels, artifact=digest("bytes"), texts=(name,))


def manifest(*entries: ManifestEntry) -> Manifest:
    return Manifest(kind=DatasetKind.LABELLED, entries=entries)


def named(name: str, *images: Digest) -> list[ManifestEntry]:
    return [entry(pixels, name) for pixels in images]


def test_images_are_counted_by_class_and_use() -> None:
    found = images_per_class(
        manifest(*named("boot", *TRAIN[:3], *TEST[:2], VALIDATION[0]), *named("bag", *TRAIN[3:5]))
    )
    assert found == (
        ClassImages(name="bag", train=2, holdout=0, test=0),
        ClassImages(name="boot", train=3, holdout=3, test=2),
    )


def test_enough_images_of_every_class_give_one_finding() -> None:
    images = manifest(*named("boot", *TRAIN[:16], TEST[0]))
    [only] = image_findings(images, images_per_class(images))
    assert (only.code, only.severity) == ("images", Severity.INFO)
    assert only.message == (
        "The dataset has 16 training images and a holdout of 1 image. The verdict is based on "
        "1 test image of the holdout."
    )
    assert only.facts == {"train": 16, "holdout": 1, "test": 1}


def test_classes_with_few_images_and_without_test_images_are_listed() -> None:
    images = manifest(
        *named("boot", *TRAIN[:15], *TEST[:2]), *named("bag", *TRAIN[15:31], VALIDATION[0])
    )
    _, few, untested = image_findings(images, images_per_class(images))
    assert (few.code, few.severity) == ("few_training_images", Severity.WARNING)
    assert few.message == (
        "These classes have fewer than 16 training images: boot (15). Add images of them."
    )
    assert few.facts == {"classes": {"boot": 15}, "least": 16}
    assert (untested.code, untested.severity) == ("no_test_images", Severity.WARNING)
    assert untested.message == (
        "These classes have no test image, so the verdict does not cover them: bag. "
        "Add images of them: about one in six becomes a test image."
    )
    assert untested.facts == {"classes": ["bag"]}


def test_near_duplicates_are_counted_with_the_image_that_they_are_like() -> None:
    alike = [replace(one, near_duplicate_of=TRAIN[0]) for one in named("boot", *TRAIN[1:3])]
    pair = replace(entry(TRAIN[4], "boot"), near_duplicate_of=TRAIN[3])
    # The image that this one is like is not in the dataset, so it is alone here.
    alone = replace(entry(TRAIN[5], "boot"), near_duplicate_of=GROUPS[-1])
    images = manifest(entry(TRAIN[0], "boot"), *alike, entry(TRAIN[3], "boot"), pair, alone)
    last = list(image_findings(images, images_per_class(images)))[-1]
    assert (last.code, last.severity) == ("near_duplicates", Severity.INFO)
    assert last.message == (
        "5 of 6 images are near-duplicates of one another, in 2 groups. "
        "A group teaches hardly more than one image does."
    )
    assert last.facts == {"images": 5, "groups": 2}
