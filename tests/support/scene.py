"""A platform with a model, a dataset version and jobs; what needs torch is scripted."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from core.artifacts.store import Artifacts
from core.database.work import Transactions
from core.datasets.freeze import freeze
from core.datasets.manifests import Side
from core.datasets.rows import Datasets
from core.datasets.rules import Dataset, DatasetImage, DatasetKind, DatasetVersion, Suite, SuiteKind
from core.datasets.suites import create_suite
from core.datasets.thumbnail_rows import PlacedGroups, ensure_split
from core.evaluation.answers import Answers, ClassAnswers, RetrievalAnswers
from core.evaluation.queries import ClassQuery, EvalQuery
from core.exports.exporter import Samples
from core.gate.policies import ensure_default_policy
from core.jobs.claim_rows import Counters
from core.jobs.orders import JobType, Order, UpdateOrder
from core.jobs.rows import Jobs
from core.jobs.rules import Job, JobEvent, JobStatus, Monitor
from core.platform import Platform
from core.recipes.fields import Precision
from core.recipes.rules import Recipe
from core.registry.alias_rows import Aliases
from core.registry.configure import configure_model
from core.registry.exports import ExportFormat
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import (
    Model,
    ServingPrecision,
    Version,
    Weights,
    in_precision,
    precision_of,
)
from core.rejection.queries import CalibrationQuery
from core.rejection.rules import Calibration
from core.settings import Settings
from core.training.trainer import Trained, TrainingSpec
from core.values import Digest, Json
from tests.support.api.seeds import a_root, some_weights
from tests.support.factories import NOW, a_dataset, a_job, a_row, by_hash, pixels_on
from tests.support.learning.tiny_tools import (
    TinyEmbedder,
    put_statistics,
    read_for_answers,
    read_for_training,
)
from tests.support.memory_artifacts import MemoryArtifacts
from tests.support.tools import run_next

FORMS = 8  # images differ by their pixels; few of them by the bytes that are stored

Event = Callable[[Monitor], object]


def nothing(monitor: Monitor) -> None:
    """What happens while a quiet job runs."""
    monitor.advance("training", 1, 2)


@dataclass
class Script:
    """The tools that need torch, in one: what happens meanwhile is the test's."""

    platform: Platform
    training: Event = nothing
    evaluating: Event = nothing
    asked: list[Digest] = field(default_factory=list)  # versions, one a call
    asked_questions: list[tuple[Digest, Digest]] = field(default_factory=list)
    wrong: set[Digest] = field(default_factory=set)  # versions that answer wrongly
    tenths: int = 0  # about how many of ten images these are right
    tasks: list[TrainingSpec] = field(default_factory=list)
    notes: Json = field(default_factory=dict)  # what training will have chosen
    environments: tuple[Mapping[str, str], ...] = ({},)  # what it will have gone through
    exporting: Event = nothing
    samples: list[Samples] = field(default_factory=list)  # one a check
    cosine: float = 0.99995  # between features of a version and those of its export
    native: Collection[Precision] = (Precision.FP32, Precision.BF16)  # of the worker's device
    openvino: str = "2025.1"  # its release

    @cached_property
    def embedder(self) -> TinyEmbedder:
        return TinyEmbedder(self.platform.artifacts)

    def load(self, base: str, monitor: Monitor) -> tuple[Weights, str]:
        self.training(monitor)
        return some_weights(self.platform, 1), f"{base} {{name}}"

    def train(self, spec: TrainingSpec, *, resume: Digest | None, monitor: Monitor) -> Trained:
        """An update; its weights are told apart by how many were trained before."""
        self.tasks.append(spec)
        read_for_training(self.platform.artifacts, spec)
        self.training(monitor)
        parent = Weights.from_bytes(self.platform.artifacts.get(spec.parent))
        weights = some_weights(self.platform, 100 + len(self.tasks))
        weights = in_precision(weights, precision_of(parent.config))
        self.platform.artifacts.put(weights.to_bytes())
        return Trained(
            weights=weights,
            notes=self.notes,
            environments=self.environments,
            feature_statistics=put_statistics(self.platform.artifacts, spec),
        )

    def native_precisions(self) -> Collection[Precision]:
        return self.native

    def answer(
        self, version: Digest, questions: Sequence[EvalQuery], monitor: Monitor
    ) -> Sequence[Answers]:
        self.asked.append(version)
        self.asked_questions += [(version, question.digest) for question in questions]
        read_for_answers(self.platform.artifacts, version, questions)
        self.evaluating(monitor)
        return [answered(question, known=self.tenths_known(version)) for question in questions]

    def release(self, precision: ServingPrecision) -> str | None:
        return None if precision is ServingPrecision.FP32 else self.openvino

    def tenths_known(self, version: Digest) -> int:
        """About how many of ten images a version is right."""
        return self.tenths if version in self.wrong else 10

    def formats(self) -> Collection[ExportFormat]:
        """All but one of them."""
        return [one for one in ExportFormat if one is not ExportFormat.ONNX_INT8]

    def write(
        self, version: Digest, export_format: ExportFormat, folder: Path, monitor: Monitor
    ) -> None:
        """Two files that say what they are."""
        read_for_answers(self.platform.artifacts, version, ())
        for name in ("text.onnx", "image.onnx"):
            (folder / name).write_text(f"{name} of {version} as {export_format}")

    def check(
        self,
        version: Digest,
        export_format: ExportFormat,
        folder: Path,
        samples: Samples,
        monitor: Monitor,
    ) -> Json:
        """The cosine that the script says."""
        read_for_answers(self.platform.artifacts, version, ())
        for image in samples.images:
            self.platform.artifacts.get(image)
        self.samples.append(samples)
        self.exporting(monitor)
        cosine = {"least_cosine_images": self.cosine, "least_cosine_texts": self.cosine}
        return {"images": len(samples.images), "texts": len(samples.texts), **cosine}


def answered(question: EvalQuery, *, known: int) -> Answers:
    """The right answer about so many of ten images in a row, and wrong ones about the others."""
    return answered_where(lambda index: index % 10 < known, question)


def answered_where(right: Callable[[int], bool], question: EvalQuery) -> Answers:
    """Answers to a question, right about the images of some indices.

    Of an unlabelled image, and of one whose class is not among those asked, the first is right.
    """
    if isinstance(question, CalibrationQuery):
        return Calibration()
    if isinstance(question, ClassQuery):
        names = [name.lower() for name in question.classes]
        truths = (entry.class_name.lower() for entry in question.entries)
        columns = (names.index(truth) if truth in names else 0 for truth in truths)
        predicted = tuple(
            column if right(n) else (column + 1) % len(names) for n, column in enumerate(columns)
        )
        return ClassAnswers(predicted=predicted, views=(predicted,) * question.views)
    images = len(question.entries)
    captions = [n for n, entry in enumerate(question.entries) for _ in entry.texts]
    found = [not entry.texts or right(n) for n, entry in enumerate(question.entries)]
    return RetrievalAnswers(
        image_ranks=tuple(0 if hit else min(3, len(captions) - 1) for hit in found),
        caption_ranks=tuple(0 if right(n) else min(7, images - 1) for n in captions),
    )


@cache
def _settings() -> Settings:
    return Settings(checkpoint_seconds=3600.0)


class Scene:
    """A model with a live root, a dataset version that can be taught, and a worker."""

    def __init__(self, transactions: Transactions, artifacts: Artifacts | None = None) -> None:
        self.platform = Platform(
            settings=_settings(),
            transactions=transactions,
            artifacts=artifacts or MemoryArtifacts(),
            clock=lambda: NOW,
        )
        ensure_default_policy(self.platform)
        ensure_split(self.platform)
        self.script = Script(self.platform)
        self.stopping = False

    def model(self, name: str = "demo") -> Model:
        return a_root(self.platform, name)

    def draft(self, dataset: Dataset, *rows: DatasetImage) -> None:
        """Store a dataset with these images."""
        with self.platform.transactions() as work:
            work[Datasets].add(dataset)
            work[Datasets].add_images(dataset.id, rows)
            work.commit()

    def frozen(
        self,
        *classes: str,
        each: int = 4,
        offset: int = 0,
        kind: DatasetKind = DatasetKind.LABELLED,
        forms: int = FORMS,
    ) -> DatasetVersion:
        """A dataset version with `each` training and holdout images of every class.

        Images are the same for the same `offset`, and of `forms` images the bytes differ.
        """
        dataset, count = a_dataset(kind=kind), each * len(classes)
        train = pixels_on(Side.TRAIN, offset + count)[offset:]
        holdout = pixels_on(Side.HOLDOUT, offset + count)[offset:]
        rows = []
        for index, pixels in enumerate((*train, *holdout)):
            row = a_row(dataset, pixels, classes[index % len(classes)])
            number = (offset + index) % forms
            form = self.platform.artifacts.put(f"one of {forms} images: {number}".encode())
            rows.append(replace(row, image=replace(row.image, artifact=form)))
        with self.platform.transactions() as work:
            work[Datasets].add(dataset)
            work[Datasets].add_images(dataset.id, rows)
            work[PlacedGroups].add(by_hash((*train, *holdout)))
            version = freeze(work, self.platform.artifacts, dataset, NOW)
            work.commit()
        return version

    def order(self, model: Model, order: Order, **changes: Any) -> Job:
        """A queued job, to be judged by the model's suites and policy as they are now."""
        kind = {
            "ImportOrder": JobType.IMPORT,
            "UpdateOrder": JobType.UPDATE,
            "ConvertOrder": JobType.CONVERT,
            "CompareIndexOrder": JobType.COMPARE_INDEX,
            "ReembedOrder": JobType.REEMBED,
        }
        job_type = kind.get(type(order).__name__, JobType.EVALUATE)
        with self.platform.transactions() as work:
            now = work[Models].get(model.id)
            pinned = {"suites": now.suites, "policy": now.policy}
            if job_type is JobType.IMPORT:
                pinned = {}
            job = a_job(model, type=job_type, order=order, **pinned | changes)
            work[Jobs].add(job)
            work.commit()
        return job

    def suite(self, model: Model, data: DatasetVersion, name: str = "asked") -> Suite:
        """A suite of all images of a dataset version, by which the model is scored."""
        with self.platform.transactions(read_only=True) as work:
            labelled = work[Datasets].get(data.dataset).kind is DatasetKind.LABELLED
        suite = create_suite(
            self.platform,
            name=name,
            kind=SuiteKind.ZERO_SHOT if labelled else SuiteKind.RETRIEVAL,
            dataset=data.dataset,
            dataset_version=data.number,
        )
        with self.platform.transactions(read_only=True) as work:
            others = work[Models].get(model.id).suites
        configure_model(self.platform, model.name, suites=[*others, suite.id], policy=None)
        return suite

    def update(self, model: Model, data: DatasetVersion, **changes: Any) -> Job:
        order = UpdateOrder(
            dataset=data.dataset,
            dataset_version=data.number,
            recipe=changes.pop("recipe", Recipe()),
            **changes,
        )
        return self.order(model, order)

    def learn(self, model: Model, data: DatasetVersion, **changes: Any) -> Job:
        self.update(model, data, **changes)
        ended = self.run()
        assert ended.status is JobStatus.SUCCEEDED, ended.error
        return ended

    def run(self) -> Job:
        return self.job(run_next(self.platform, self.script, stopping=lambda: self.stopping))

    def job(self, job: Job) -> Job:
        with self.platform.transactions(read_only=True) as work:
            return work[Jobs].get(job.id)

    def version(self, model: Model, number: int) -> Version:
        with self.platform.transactions(read_only=True) as work:
            return work[Versions].get(model.id, number)

    def versions(self, model: Model) -> Sequence[Version]:
        with self.platform.transactions(read_only=True) as work:
            return work[Versions].all(model.id)

    def report(self, version: Version) -> dict[str, Any]:
        return json.loads(self.platform.artifacts.get(version.report))

    def live(self, model: Model) -> int:
        with self.platform.transactions(read_only=True) as work:
            return work[Aliases].get(model.id, "production").version

    def phase_seconds(self) -> dict[str, float]:
        """The seconds that each phase of updates has taken so far."""
        with self.platform.transactions(read_only=True) as work:
            counters = work[Counters].all()
        assert {counter.labels["type"] for counter in counters} <= {"update"}
        return {c.labels["phase"]: c.value for c in counters if "sum" in c.labels}

    def events(self, job: Job) -> Sequence[JobEvent]:
        with self.platform.transactions(read_only=True) as work:
            return work[Jobs].events(job.id, 1000, 0)
