"""Erasures, the marks that they leave on versions, and how far they are."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from core.jobs.rules import JobStatus
from core.registry.versions import Version
from core.values import DatasetId, Digest, ErasureId, JobId, ModelId, TrialId


class Retraining(StrEnum):
    """The marked versions that an erasure trains again."""

    ALL = "all"
    ALIASED = "aliased"  # those that aliases point at, and their ancestors
    NONE = "none"


class Exposure(StrEnum):
    """A way in which a version learned from an image."""

    TAUGHT = "taught"
    DISTILLED = "distilled"  # as one of a reference set
    CHOSEN = "chosen"  # as a validation image, by which the mixing weight was chosen
    INHERITED = "inherited"  # from the version that it was trained from
    COPIED = "copied"  # it has the weights of one that did, or came by a bundle from one


@dataclass(frozen=True, kw_only=True)
class MarkedVersion:
    """A version that learned from erased images."""

    model: ModelId
    name: str  # of the model, at the time
    number: int
    digest: Digest
    learned: Exposure
    retrained: bool  # whether it was ordered to be trained again
    obstacle: str | None = None  # the code of what kept it from being ordered


@dataclass(frozen=True, kw_only=True)
class RemadeVersion:
    """A dataset version that held erased images."""

    dataset: DatasetId
    name: str  # of the dataset, at the time
    number: int
    removed: int  # images
    replaced_by: int  # NOTHING_LEFT: none does


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The drafts, suites and versions that held erased images or had learned from them."""

    artifacts: Mapping[Digest, tuple[Digest, ...]] = field(default_factory=dict)  # forms, by pixels
    archives: tuple[Digest, ...] = ()  # of ended imports, which may have brought them
    drafts: tuple[str, ...] = ()  # names of datasets
    datasets: tuple[RemadeVersion, ...] = ()
    suites: tuple[str, ...] = ()  # names
    versions: tuple[MarkedVersion, ...] = ()
    near_duplicates: tuple[Digest, ...] = ()  # of the erased images, which stay
    trials: tuple[TrialId, ...] = ()  # that kept one of the images as a sample
    vectors: tuple[Digest, ...] = ()  # files with vectors of them, and bridges fitted on them
    derived: tuple[Digest, ...] = ()  # statistics, answers and import reports made of them


@dataclass(frozen=True, kw_only=True)
class Erasure:
    """An order to take images back."""

    id: ErasureId
    images: tuple[Digest, ...]  # by their pixels
    reason: str
    retraining: Retraining = Retraining.ALL
    actor: str
    job: JobId  # that carries it out, or the newest retry of it
    created_at: datetime
    erased_at: datetime | None = None  # when it was committed: from then on nothing reads them
    findings: Findings = field(default_factory=Findings)


class ErasureStatus(StrEnum):
    """The status of an erasure."""

    ERASING = "erasing"
    FAILED = "failed"  # its job has ended early: retry that
    RETRAINING = "retraining"  # the images are gone; updates that it has ordered have not ended
    INCOMPLETE = "incomplete"  # some of what it wanted to train again has not been replaced
    LIVE = "live"  # all of it was replaced, but an alias still points at what learned from them
    DONE = "done"

    @classmethod
    def of(cls, job: JobStatus, *, waiting: int, missing: int, live: int) -> "ErasureStatus":
        """Return the status, given that of its job and how many versions wait or lack for good.

        `live` is how many aliases point at versions that learned from the images.
        """
        if not job.done:
            return cls.ERASING
        if job is not JobStatus.SUCCEEDED:
            return cls.FAILED
        if waiting:
            return cls.RETRAINING
        if missing:
            return cls.INCOMPLETE
        return cls.LIVE if live else cls.DONE

    @property
    def ended(self) -> bool:
        """True once the images are gone and nothing more happens by itself."""
        return self in {ErasureStatus.INCOMPLETE, ErasureStatus.LIVE, ErasureStatus.DONE}


# Which versions learned from erased images, and which of them are trained again.


def marked(
    versions: Iterable[Version], learned: Callable[[Version], Exposure | None]
) -> dict[int, Exposure]:
    """Return how versions of one model learned from erased images, without those that did not.

    `learned` is how a version did so itself; every descendant inherits it. A parent's number is
    always lower.
    """
    found: dict[int, Exposure] = {}
    for version in sorted(versions, key=lambda version: version.number):
        if how := learned(version):
            found[version.number] = how
        elif version.parent in found:
            found[version.number] = Exposure.INHERITED
    return found


def marked_by_digest(
    models: Mapping[ModelId, Sequence[Version]],
    learned: Callable[[Version], Exposure | None],
    learned_from: Iterable[Digest],
) -> tuple[dict[ModelId, dict[int, Exposure]], set[Digest]]:
    """Return what `marked` returns for each model, and the digests to mark.

    A version with the weights of a marked one is marked in each model, and so is one that came by a
    bundle whose line names a marked digest, or one of `learned_from`.
    """
    told = {(one.model, one.number): learned(one) for line in models.values() for one in line}
    digests = set(learned_from)

    def how(one: Version) -> Exposure | None:
        line = one.origin.learned_from if one.origin else ()
        copied = not digests.isdisjoint((one.digest, *line))
        return told[one.model, one.number] or (Exposure.COPIED if copied else None)

    while True:
        found = {model: marked(versions, how) for model, versions in models.items()}
        known = len(digests)
        for model, versions in models.items():
            digests.update(_trained_into(versions, found[model]))
            told.update({(model, number): found[model][number] for number in found[model]})
        if len(digests) == known:
            return found, digests


def _trained_into(versions: Iterable[Version], found: Collection[int]) -> Iterator[Digest]:
    """Yield the weights of marked versions, unless an update has left those of a clean parent."""
    by_number = {version.number: version for version in versions}
    for number in found:
        version = by_number[number]
        parent = by_number.get(version.parent or 0)
        if parent is None or parent.number in found or parent.digest != version.digest:
            yield version.digest


def to_retrain(
    versions: Sequence[Version],
    found: Collection[int],
    *,
    live: Collection[int],
    wanted: Retraining,
) -> list[Version]:
    """Return which of the marked versions are to be trained again, each after what it starts from.

    A version that another one replaces is not trained a second time: if that one is marked as
    well, it is. `live` are the versions that aliases point at; what replaces these and their
    ancestors is as good as they are.
    """
    if wanted is Retraining.NONE:
        return []
    by_number = {version.number: version for version in versions}
    chosen = set(found) - {version.replaces for version in versions}
    if wanted is Retraining.ALIASED:
        chosen &= _lines_of(live, by_number)
    depths = _depths(versions)  # what replaces a version is as far from the root as that is
    in_order = sorted(chosen, key=lambda number: (depths[number], number))
    return [by_number[number] for number in in_order]


def newest(number: int, versions: Iterable[Version]) -> int:
    """Return the last of the versions that replace one another, or the number itself."""
    by = {version.replaces: version.number for version in versions}
    while number in by:
        number = by[number]
    return number


def _depths(versions: Iterable[Version]) -> dict[int, int]:
    """Return how many updates are between each version and its root."""
    depths: dict[int, int] = {}
    for version in sorted(versions, key=lambda version: version.number):
        depths[version.number] = 1 + depths.get(version.parent or 0, 0)
    return depths


def _lines_of(numbers: Iterable[int], versions: Mapping[int, Version]) -> set[int]:
    """Return versions, their ancestors, and what replaces any of these."""
    line: set[int] = set()
    for number in numbers:
        step: int | None = number
        while step is not None and step not in line:
            line.add(step)
            step = versions[step].parent if step in versions else None
    for number in sorted(versions):  # a version's number is higher than that of what it replaces
        if versions[number].replaces in line:
            line.add(number)
    return line


# What an erasure cannot reach, as its certificate lists it.

REMAINS = {
    "weights": "A marked version keeps its weights until it is deleted. Weights that no version "
    "names, of blames and of updates that have failed, stay until they are a day old and the next "
    "garbage collection. They were learned from the images, but hold none of their bytes.",
    "downloads": "Copies of marked versions and of images that clients have downloaded. A client "
    "may keep an image that it has fetched in its cache for a year.",
    "statistics": "Feature statistics of marked versions are deleted, and answers about the images "
    "by which versions were scored. Measures and thresholds, which are numbers over many images, "
    "stay in reports.",
    "reports": "Import reports have lost the images' file names and texts, but for those that "
    "clients have downloaded, and those of later imports, which refuse a copy by its name.",
    "captions": "Captions of the images: the service shows them no more, but the manifests of the "
    "dataset versions and suites that held them are stored until these are deleted.",
    "exports": "Exports of marked versions, until they are deleted, each by itself or with its "
    "version, and copies of them that clients have downloaded: `exports` of each version lists "
    "those that are stored now.",
    "vectors": "Vectors of the images and bridges that clients have downloaded, copies that the "
    "service has made for a download, until the first other one that it makes an hour or more "
    "after their last use, and what re-embeddings have stored that have failed or were cancelled, "
    "until it is a day old and the next garbage collection.",
    "archives": "Archives whose import had not ended, until a day after it and the next garbage "
    "collection, and files that were sent in parts, until they have expired and likewise: their "
    "import refuses the images, and so does one of a copy that is sent later.",
    "back_ups": "Back-ups that were made before the erasure, and any that a service before it is "
    "restored from: repeat the erasure after such a restore. The next back-up into the same folder "
    "deletes the images from it, and a later one what a garbage collection has removed: 30 days "
    "later, unless PERENNIAL_BACKUP_DAYS says otherwise.",
    "database": "Thumbnails of 8 by 8 pixels, file names and captions: in SQLite's write-ahead log "
    "until the service stops or writes over it; in PostgreSQL's, also where it is archived, and in "
    "pages that are free and not written anew, which VACUUM FULL drops.",
    "store": "Former versions of objects, if the bucket of the artifact store keeps any.",
}
EXACTNESS = (
    "Where `exact` is true, a line that was taught without the images from the start has the same "
    "digest, if its orders were the same and it was trained in the environment after. On another "
    "kind of machine, with another release of torch or another number of threads, weights differ "
    "by rounding. The split is the same function of what is left, with one exception: "
    "near-duplicates of an erased image stay on the side on which it was."
)
