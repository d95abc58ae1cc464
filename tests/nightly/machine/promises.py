"""What must hold after every step, whatever has happened: the machine's own book of the service."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from core.datasets.manifests import ManifestEntry, Side
from core.datasets.rows import Datasets
from core.erasure.order import certify, progress_of
from core.erasure.rows import Erasures
from core.erasure.rules import Erasure, ErasureStatus
from core.errors import DatasetVersionReplaced, ImageErased, LearnedErasedImages, ParentNotRetrained
from core.gate.rules import Verdict
from core.jobs.orders import CandidateOrder, ConvertOrder, EraseOrder, JobType
from core.jobs.rules import Job, JobStatus, model_of
from core.registry.alias_rows import Aliases
from core.registry.aliases import Alias, AliasMove, MoveKind, live_stack
from core.registry.read import require_weights
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version, Weights, in_precision
from core.upkeep.gc import expand, roots_of
from core.upkeep.rows import ArtifactRoots
from core.values import Digest, ErasureId, JobId, ModelId
from tests.nightly.machine.tools import trained
from tests.nightly.machine.verdicts import Gate
from tests.nightly.machine.world import ALIAS, ALIASES, World

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


LOST_ATTEMPTS = 3


@dataclass
class Promises:
    """What clients were told, and what the operator has done; `check` compares."""

    world: World
    acknowledged: set[JobId] = field(default_factory=set)
    cancelled: set[JobId] = field(default_factory=set)  # told so: at once or soon
    passed_leases: Counter[JobId] = field(default_factory=Counter)
    deleted: set[tuple[ModelId, int]] = field(default_factory=set)  # versions
    wins: set[tuple[ModelId, str, int, int]] = field(default_factory=set)  # alias, revision, to
    jobs: dict[JobId, Job] = field(default_factory=dict)  # as of the last check
    versions: list[tuple[Model, Version]] = field(default_factory=list)  # likewise
    moved: list[Model] = field(default_factory=list)  # whose alias is not where it began
    ended: dict[JobId, Job] = field(default_factory=dict)
    happened: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.erased = ErasedImages(self.world, self.happened)
        self.gate = Gate(self.world, self.happened)

    def check(self) -> None:
        """Everything that can be told from rows."""
        self.jobs = jobs = {job.id: job for job in self.world.jobs()}
        self._no_job_is_lost(jobs)
        self._one_worker_a_lane(jobs.values())
        self.gate.check()
        for job in jobs.values():
            if job.status.done and job.id not in self.ended:
                self._ended_for_a_reason(job)
                self.ended[job.id] = replace(job, checkpoint=None)
        self.versions, self.moved = [], []
        for model in self.world.models():
            versions = self.world.versions(model)
            self.versions += [(model, version) for version in versions]
            self._one_version_a_job(model, versions, jobs)
            self._every_move_was_won(model, versions, jobs)
        self.erased.check(jobs.values(), self.versions)

    def check_bytes(self) -> None:
        """Every byte that rows name is there and is what they say."""
        for model in self.world.models():
            for version in self.world.versions(model):
                if version.collected_at is None:
                    require_weights(self.world.artifacts, version)
        with self.world.reading() as work:
            erased = work[ArtifactRoots].erased()
            needed = expand(self.world.artifacts, roots_of(work[ArtifactRoots]), erased=erased)
        assert not needed.unreadable
        for digest in needed.kinds:
            self.world.artifacts.get(digest)

    def check_end(self) -> None:
        """Nothing runs any more: each job has ended."""
        self.check()
        self.check_bytes()
        assert self.acknowledged <= self.ended.keys()
        self.erased.check_end(self.jobs)

    def _no_job_is_lost(self, jobs: dict[JobId, Job]) -> None:
        assert self.acknowledged <= jobs.keys()
        for job, end in self.ended.items():
            # What a job has left to resume from is swept later.
            assert replace(jobs[job], checkpoint=None) == end, "an ended job has changed"

    def _ended_for_a_reason(self, job: Job) -> None:
        self.happened[f"job {job.status.value}"] += 1
        match job.status:
            case JobStatus.SUCCEEDED:
                assert job.id not in self.cancelled
                self.happened[f"{job.type.value} judged: {job.result.get('verdict')}"] += 1
                if job.type is JobType.EVALUATE and self.gate.stood(job):
                    self.happened["verdict stood"] += 1
                if (promotion := job.result.get("promotion")) is not None:
                    self.happened[f"promotion by {job.type.value}: {promotion['reason']}"] += 1
            case JobStatus.CANCELLED:
                # What an erasure has queued, another one orders anew.
                assert job.id in self.cancelled or (
                    "erasure" in job.metadata and len(self.erased.taken) > 1
                )
            case _:
                self.happened[f"job failed: {job.error['code']}"] += 1
                assert self._may_fail(job, job.error["code"]), job.error

    def _may_fail(self, job: Job, code: str) -> bool:
        match code:
            case _ if code in CODES:
                return bool(self.erased.taken)
            case "worker_lost":
                return self.passed_leases[job.id] >= LOST_ATTEMPTS
            case "conflict":  # an import that was retried twice
                with self.world.reading() as work:
                    return job.type is JobType.IMPORT and bool(work[Versions].all(model_of(job)))
            case "alias_not_found":  # its model's import was cancelled or failed
                with self.world.reading() as work:
                    return work[Aliases].find(model_of(job), ALIAS) is None
            case "field_invalid":  # what is live has the precision already
                return isinstance(job.order, ConvertOrder) and job.order.parent is None
            case _:
                return False

    def _one_worker_a_lane(self, jobs: Iterable[Job]) -> None:
        claimed = {JobStatus.RUNNING, JobStatus.CANCELLING}
        lanes = Counter(job.lane for job in jobs if job.status in claimed)
        assert max(lanes.values(), default=0) <= 1, "two jobs of a lane have been claimed"

    def _one_version_a_job(
        self, model: Model, versions: Sequence[Version], jobs: dict[JobId, Job]
    ) -> None:
        by_number = {version.number: version for version in versions}
        gone = {number for of, number in self.deleted if of == model.id}
        ever = sorted(by_number.keys() | gone)
        assert not by_number.keys() & gone, "a version has come back"
        assert ever == list(range(1, len(ever) + 1))
        made = Counter(version.job for version in versions)
        assert all(count == 1 for count in made.values()), "a job has made two versions"
        for version in versions:
            job = jobs[version.job]
            if version.parent is not None and version.recipe is not None:
                assert job.version == version.number
                parent = by_number[version.parent].digest
                images = self.erased.images_of(version)
                seed = version.recipe.seed
                undisturbed = trained(parent, version.update_classes, seed, images)
                undisturbed = in_precision(undisturbed, by_number[version.parent].precision)
                assert version.digest == undisturbed.digest, "trained otherwise"
                kept = set() if version.erasure else set(version.classes)
                assert version.feature_statistics.keys() == kept
            if version.is_conversion:
                assert job.version == version.number
                made_of = by_number[version.parent]
                assert version.precision is job.order.precision is not made_of.precision
                if version.collected_at is None and made_of.collected_at is None:
                    stored = map(self.world.artifacts.get, (version.digest, made_of.digest))
                    found, before = map(Weights.from_bytes, stored)
                    assert found.tensors == before.tensors
        for job in jobs.values():
            succeeded = job.model == model.id and job.status is JobStatus.SUCCEEDED
            if succeeded and isinstance(job.order, CandidateOrder):
                assert made[job.id] == (job.version not in gone)
                assert job.result["version"] == job.version

    def _every_move_was_won(
        self, model: Model, versions: Sequence[Version], jobs: dict[JobId, Job]
    ) -> None:
        for name in ALIASES:
            alias, history = self.world.alias(model, name)
            assert [row.revision for row in history] == list(range(1, len(history) + 1))
            if alias is None:
                assert not history
                continue
            if name == ALIAS and alias.version != 1:
                self.moved.append(model)
            self._moves_and_wins_agree(model, alias, history, versions, jobs)

    def _moves_and_wins_agree(
        self,
        model: Model,
        alias: Alias,
        history: Sequence[AliasMove],
        versions: Sequence[Version],
        jobs: dict[JobId, Job],
    ) -> None:
        assert (alias.revision, alias.version) == (len(history), history[-1].to_version)
        by_hand = {(row.revision, row.to_version) for row in history if not self._by_job(row, jobs)}
        won = {wins[2:] for wins in self.wins if wins[:2] == (model.id, alias.name)}
        imported = {(1, 1)} if alias.name == ALIAS else set()
        assert by_hand - imported == won, "moves and wins differ"
        by_number = {version.number: version for version in versions}
        for number in live_stack(history):
            found = by_number.get(number)
            assert found is not None or (model.id, number) in self.deleted
            assert found is None or found.collected_at is None, "what is live was given up"

    def _by_job(self, row: AliasMove, jobs: dict[JobId, Job]) -> bool:
        """True if a job has moved the alias itself; then its version had passed."""
        job = jobs.get(JobId(row.actor.removeprefix("job ")))
        if job is None or not isinstance(job.order, CandidateOrder):  # an import makes the alias
            return False
        assert (row.kind, job.version) == (MoveKind.PROMOTED, row.to_version)
        assert job.result["verdict"] == Verdict.PASSED
        assert job.result["promotion"]["moved"]
        return True
