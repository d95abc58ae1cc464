"""Rules for images that were erased, which hold after every step."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from core.datasets.manifests import ManifestEntry, Side
from core.datasets.rows import Datasets
from core.erasure.order import certify, progress_of
from core.erasure.rows import Erasures
from core.erasure.rules import Erasure, ErasureStatus
from core.errors import DatasetVersionReplaced, ImageErased, LearnedErasedImages, ParentNotRetrained
from core.jobs.orders import EraseOrder
from core.jobs.rules import Job, JobStatus
from core.registry.versions import Model, Version
from core.values import Digest, ErasureId
from tests.nightly.machine.world import World

# What keeps others from using what has learned from an erased image.
REFUSALS = (DatasetVersionReplaced, ImageErased, LearnedErasedImages, ParentNotRetrained)

CODES = {refusal().code for refusal in REFUSALS}


@dataclass
class ErasedImages:
    """The images that were to be erased, by the orders that were acknowledged."""

    world: World
    happened: Counter[str]
    taken: dict[ErasureId, ManifestEntry] = field(default_factory=dict)
    _marked: set[tuple[str, int]] = field(default_factory=set)

    def allow(self, code: str) -> None:
        """Fail if only an erasure is a reason for this error, and there was none."""
        assert code not in CODES or self.taken, code

    def check(self, jobs: Iterable[Job], versions: Sequence[tuple[Model, Version]]) -> None:
        """An image is in everything, or else in nothing, and what learned from it is marked."""
        if not self.taken:
            return
        with self.world.reading() as work:
            erasures = [work[Erasures].get(erasure) for erasure in self.taken]
            gone = {one.images[0] for one in erasures if one.erased_at is not None}
            assert not work[Datasets].holding(gone)
        self._bytes_follow_rows(erasures, jobs)
        for lesson in self.world.lessons:
            assert not gone & {entry.pixels for entry in self.world.manifest(lesson).entries}
        learned: dict[tuple[str, int | None], bool] = {}
        for model, version in versions:
            own = bool(gone & {*self.images_of(version)})
            found = own or learned.get((model.id, version.parent), False)
            learned[model.id, version.number] = found
            assert found is (version.erasure is not None), f"version {version.number}"
            if found and (model.id, version.number) not in self._marked:
                self._marked.add((model.id, version.number))
                self.happened["version marked"] += 1

    def check_end(self, jobs: Mapping[str, Job]) -> None:
        """Nothing runs any more: what was to be trained again is, or it says why not."""
        with self.world.reading() as work:
            found = progress_of(work, [work[Erasures].get(erasure) for erasure in self.taken])
        for progress in found:
            self.happened[f"erasure {progress.status.value}"] += 1
            if progress.status is ErasureStatus.FAILED:
                assert jobs[progress.erasure.job].status is not JobStatus.SUCCEEDED
                continue
            told = certify(self.world.platform, progress.erasure.id)
            assert not any(image["in_store"] for image in told["images"])
            for one in progress.versions:
                if one.by is not None:
                    assert one.by.digest != one.marked.digest
                    self.happened["version trained again"] += 1

    def images_of(self, version: Version) -> list[Digest]:
        """The images that a version's update has trained on."""
        if version.dataset is None or version.dataset_version is None:
            return []
        with self.world.reading() as work:
            data = work[Datasets].version(version.dataset, version.dataset_version)
        return sorted(one.pixels for one in self.world.manifest(data).on(Side.TRAIN))

    def _bytes_follow_rows(self, erasures: Sequence[Erasure], jobs: Iterable[Job]) -> None:
        done = {
            job.order.erasure
            for job in jobs
            if isinstance(job.order, EraseOrder) and job.status is JobStatus.SUCCEEDED
        }
        for erasure in erasures:
            stored = self.world.artifacts.has(self.taken[erasure.id].artifact)
            if erasure.id in done:
                assert erasure.erased_at is not None
                assert not stored, "an erased image is still stored"
            elif erasure.erased_at is None:
                assert stored, "the bytes of an image went before its rows"
