"""Create suites, and let them grow."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from core.audit import record as audit
from core.audit.rules import Action
from core.database.work import Work
from core.datasets.freeze import freeze, read_manifest, read_remaining, without_erased
from core.datasets.manifests import Manifest, ManifestEntry
from core.datasets.rows import Datasets
from core.datasets.rules import Dataset, DatasetVersion, Suite, SuiteKind
from core.datasets.thumbnail_rows import Thumbnails
from core.datasets.version_rows import Suites
from core.errors import FieldInvalid, ImageInTraining
from core.platform import Platform
from core.recipes.fields import DEFAULT_PROMPT, PromptTemplate
from core.values import Digest, SuiteId, clean_class, clean_name, counted, new_id


def create_suite(
    platform: Platform,
    *,
    name: str,
    kind: SuiteKind,
    dataset: str,
    dataset_version: int | None,
    prompt: PromptTemplate = DEFAULT_PROMPT,
    mirror: bool = False,
    classes: Sequence[str] = (),
) -> Suite:
    """Make a suite of all images of a dataset version; without one, of the present images.

    These become a version unless the newest has the same or the suite is refused. No model can be
    trained on the images from then on. `mirror` says that a mirror image shows the same class.
    `classes` are those of an unlabelled suite; others have the classes of their images.
    Raises Forbidden for a key that is limited to some models, FieldInvalid when the dataset is of
    another kind, where views do not exist that may be mirrored or for a list of classes that is not
    wanted or too short, ClassInvalid, ImageInTraining when one of the images is on
    the training side of a dataset version, NameInvalid, NameTaken, and of present images
    DatasetEmpty or ImageInSuite.
    """
    now = platform.clock()
    with platform.transactions() as work:
        work.principal.require_every_model()
        source = _source(work, dataset, kind)
        if mirror and kind is not SuiteKind.ZERO_SHOT:
            raise FieldInvalid(
                "Only a zero-shot suite has views, which may be mirrored.", pointer="/mirror"
            )
        named, wanted = clean_name(name), _classes_of(kind, classes)

        def refuse(manifest: Manifest) -> None:
            work[Suites].require_free(named)
            _refuse_trained(work, source, manifest)

        version, manifest = _images(platform, work, source, dataset_version, now, refuse)
        suite = Suite(
            id=SuiteId(new_id("suite", now)),
            name=named,
            kind=kind,
            manifest=version.manifest,
            source=version.manifest,
            classes=wanted or manifest.classes,
            images=len(manifest.entries),
            prompt=prompt,
            mirror=mirror,
            created_at=now,
        )
        work[Suites].add(suite, manifest)
        audit.record(
            work,
            Action.SUITE_CREATED,
            f"suites/{suite.name}",
            now=now,
            after={
                "kind": kind.value,
                "dataset": source.name,
                "dataset_version": version.number,
                "mirror": mirror,
            },
        )
        work.commit()
    return suite


def _classes_of(kind: SuiteKind, classes: Sequence[str]) -> tuple[str, ...]:
    """Return the list of an unlabelled suite, cleaned; empty for others, which have no list."""
    names = {name.lower(): name for name in map(clean_class, classes)}
    if kind is SuiteKind.UNLABELLED and len(names) < LEAST_CLASSES:
        raise FieldInvalid(
            "An unlabelled suite requires the classes to choose from, at least two.",
            pointer="/classes",
        )
    if kind is not SuiteKind.UNLABELLED and names:
        raise FieldInvalid("Only an unlabelled suite takes a list of classes.", pointer="/classes")
    return tuple(sorted(names.values()))


LEAST_CLASSES = 2  # between which a version chooses


@dataclass(frozen=True, kw_only=True)
class Growth:
    """Two editions of a suite, and the dataset version whose images the later one got."""

    before: Suite
    after: Suite
    dataset: str
    version: int

    @property
    def facts(self) -> dict[str, Any]:
        """Return what the audit trail says of the later edition."""
        return {
            "edition": self.after.edition,
            "images": self.after.images,
            "added": self.after.images - self.before.images,
            "dataset": self.dataset,
            "dataset_version": self.version,
        }


def add_images(
    platform: Platform,
    work: Work,
    *,
    suite: str,
    dataset: str,
    dataset_version: int | None,
    now: datetime,
    known: Collection[Digest] = (),
) -> Growth:
    """Store the next edition of a suite: with the images of a dataset version, too.

    Without a number these are the present images; `known` ones are left out. The edition has all
    images of the one before, and those that both have keep their class or captions. No model can be
    trained on the new ones from then on. Raises Forbidden, SuiteNotFound, SuiteRetired,
    FieldInvalid for an unlabelled suite, for a dataset of the other kind, for images of other
    classes or if none is new, and what `create_suite` raises of images.
    """
    work.principal.require_every_model()
    work[Thumbnails].lock()
    source = _source(work, dataset, work[Suites].get(suite).kind)
    work[Datasets].lock(source.id)
    before = work[Suites].newest(suite, lock=True)
    before.require_in_use()
    if before.kind is SuiteKind.UNLABELLED:
        raise FieldInvalid(
            f"The {before.title} is unlabelled, so that easier images among more would not be seen:"
            " make another suite of more images.",
            pointer="/suite",
        )
    present = read_remaining(work, platform.artifacts, before.manifest)

    def refuse(manifest: Manifest) -> None:
        _require_classes(manifest.classes, before)
        _refuse_trained(work, source, manifest)

    version, manifest = _images(
        platform, work, source, dataset_version, now, refuse, beside_suites=True
    )
    left = without_erased(work, manifest.without(known).entries)
    grown = _united(present, left, before.edition + 1)
    if len(grown.entries) == len(present.entries):
        raise FieldInvalid(f"The {before.title} has all these images already.", pointer="/dataset")
    after = before.next_edition(
        manifest=platform.artifacts.put(grown.to_bytes()),
        source=version.manifest,
        images=len(grown.entries),
        now=now,
    )
    work[Suites].grow(before, after, grown)
    return Growth(before=before, after=after, dataset=source.name, version=version.number)


def _source(work: Work, dataset: str, kind: SuiteKind) -> Dataset:
    source = work[Datasets].get(dataset)
    if source.kind is not kind.dataset_kind:
        raise FieldInvalid(
            f"The kind of suite {kind.value!r} requires a dataset of the kind "
            f"{kind.dataset_kind.value!r}.",
            pointer="/dataset",
        )
    return source


def _images(
    platform: Platform,
    work: Work,
    source: Dataset,
    number: int | None,
    now: datetime,
    refuse: Callable[[Manifest], object],
    *,
    beside_suites: bool = False,
) -> tuple[DatasetVersion, Manifest]:
    """Return a dataset version and its images, unless `refuse` raises; without one, freeze it.

    With `beside_suites`, images of suites may be among those that are frozen.
    """
    artifacts = platform.artifacts
    if number is None:
        version = freeze(
            work,
            artifacts,
            source,
            now,
            accept=refuse,
            if_changed=True,
            beside_suites=beside_suites,
        )
        return version, read_manifest(artifacts, version.manifest)
    version = work[Datasets].version(source.id, number, keep=True)
    manifest = read_manifest(artifacts, version.manifest)
    refuse(manifest)
    return version, manifest


def _united(present: Manifest, more: Iterable[ManifestEntry], edition: int) -> Manifest:
    """Return a manifest with more images, of a new edition; one that is there stays as it is."""
    new = (replace(entry, edition=edition) for entry in more)
    entries = {entry.pixels: entry for entry in (*new, *present.entries)}
    return replace(present, entries=tuple(entries[pixels] for pixels in sorted(entries)))


def _require_classes(given: Iterable[str], suite: Suite) -> None:
    """Raise FieldInvalid for images of a class that is not asked about, whatever its case."""
    known = {name.lower() for name in suite.classes}
    if other := [name for name in given if name.lower() not in known]:
        raise FieldInvalid(
            f"The {suite.title} does not ask about these classes, and with them it would ask "
            f"another question: {', '.join(other[:20])}.",
            pointer="/dataset",
        )


def _refuse_trained(work: Work, source: Dataset, manifest: Manifest) -> None:
    """Raise ImageInTraining for an image that is on the training side of another dataset.

    An image that is already in a suite cannot have been trained on since then: a version whose
    training side has it is the one that the suite was made from.
    """
    groups = {entry.group for entry in manifest.entries}
    trained = work[Datasets].trained_groups(groups, except_for=source.id)
    trained -= work[Suites].contains(trained)
    if trained:
        shared = sorted(entry.pixels for entry in manifest.entries if entry.group in trained)
        raise ImageInTraining(
            f"The training sides of dataset versions contain {counted(len(shared), 'image')} "
            "of this dataset, counting near-duplicates.",
            pixels=shared[:20],
        )
