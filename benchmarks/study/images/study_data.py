"""The images of a study: those to train on, those to choose by and those to score."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.study.images.folders import files_of, locate
from benchmarks.study.images.image_cache import ImageCache, without
from benchmarks.study.plan import REST, ImageSet, Plan, PlanInvalid
from core.domain.datasets.dataset import DatasetKind
from core.domain.datasets.manifest import Manifest, ManifestEntry
from core.domain.datasets.split import Part
from core.domain.values import Digest, sha256


@dataclass(frozen=True, kw_only=True)
class RetainedSet:
    """A retained measure: images and the class list that they are classified over."""

    entries: tuple[ManifestEntry, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class StudyData:
    """All images of a study, with both parts of those to score, none of which is in `train`."""

    classes: tuple[str, ...]  # the new ones, in the plan's order
    train: tuple[ManifestEntry, ...]
    test: tuple[ManifestEntry, ...]
    retained: Mapping[str, RetainedSet]
    retrieval: tuple[ManifestEntry, ...]
    reference: tuple[ManifestEntry, ...]
    left_out: int  # training images that are left out of `train`, for they are scored

    def sessions(self, count: int) -> tuple[tuple[str, ...], ...]:
        """Split the classes into `count` equal sessions. Raises PlanInvalid on a remainder."""
        if count < 1 or len(self.classes) % count:
            raise PlanInvalid(
                f"{len(self.classes)} classes do not make {count} equal sessions: choose a "
                "number of sessions that divides them"
            )
        size = len(self.classes) // count
        return tuple(self.classes[i * size : (i + 1) * size] for i in range(count))


def on_part(entries: Sequence[ManifestEntry], part: Part) -> tuple[ManifestEntry, ...]:
    """Return the entries of a part: validation is for choosing, test for published numbers."""
    return tuple(entry for entry in entries if entry.part is part)


def digest_of(entries: Sequence[ManifestEntry]) -> Digest:
    """Return a digest of images with their texts."""
    manifest = Manifest(kind=DatasetKind.CAPTIONED, entries=tuple(entries))
    return sha256(manifest.to_bytes())


@dataclass(frozen=True, kw_only=True)
class StudyDataReader:
    """Reads image sets from folders into the image cache."""

    image_cache: ImageCache
    places: tuple[Path, ...]
    unzipped: Path
    emit: Callable[[str, int, int], None]

    def read(self, plan: Plan) -> StudyData:
        """Read all images of a plan. Raises PlanInvalid, or Invalid where a file is no image."""
        train, test = self._entries(plan.train), self._entries(plan.test)
        classes = _classes(plan.test, test)
        if unseen := set(classes) - {entry.class_name for entry in train}:
            raise PlanInvalid(f"class {sorted(unseen)[0]!r} has no training image")
        retained = {measure.name: self._measure(measure, classes) for measure in plan.retained}
        retrieval = self._entries(plan.retrieval) if plan.retrieval else ()
        scored = {entry.pixels for entry in (*test, *retrieval)}
        scored |= {entry.pixels for measure in retained.values() for entry in measure.entries}
        taught = [entry for entry in train if entry.class_name in set(classes)]
        learned = without(taught, scored)
        reference = self._entries(plan.reference) if plan.reference else ()
        return StudyData(
            classes=classes,
            train=learned,
            test=test,
            retained=retained,
            retrieval=retrieval,
            reference=without(reference, scored),
            left_out=len(taught) - len(learned),
        )

    def _entries(self, images: ImageSet) -> tuple[ManifestEntry, ...]:
        folder = locate(images.data, self.places, self.unzipped)
        title = f"{images.data}/{images.split}"
        return self.image_cache.entries(
            files_of(images, folder), lambda done, total: self.emit(title, done, total)
        )

    def _measure(self, images: ImageSet, target: Sequence[str]) -> RetainedSet:
        entries = self._entries(images)
        if images.classes == REST:
            entries = tuple(e for e in entries if e.class_name not in set(target))
        elif isinstance(images.classes, str):
            raise PlanInvalid(f"classes is a list or {REST!r}, not {images.classes!r}")
        return RetainedSet(entries=entries, classes=tuple(sorted({e.class_name for e in entries})))


def _classes(images: ImageSet, entries: Sequence[ManifestEntry]) -> tuple[str, ...]:
    """Return the target's classes as the plan lists them, in the order of sessions; else sorted."""
    if isinstance(images.classes, str):
        raise PlanInvalid(f"the target's classes are a list, not {images.classes!r}")
    listed = dict.fromkeys(name.replace("_", " ") for name in images.classes)
    return tuple(listed) or tuple(sorted({entry.class_name for entry in entries}))
