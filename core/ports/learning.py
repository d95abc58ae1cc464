"""Ports for what a worker does with a model: import, train, evaluate."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from core.domain.datasets.manifest import ManifestEntry
from core.domain.evaluation.query import Answers, ClassQuery, EvalQuery
from core.domain.jobs.event import EventKind
from core.domain.recipes.choices import Precision
from core.domain.recipes.prompt import PromptTemplate
from core.domain.recipes.recipe import Recipe
from core.domain.registry.version import Weights
from core.domain.values import Digest, Json, ModelId


class Monitor(Protocol):
    """The progress of a running job: reports renew its lease, and raise when it must stop."""

    def advance(
        self, phase: str, step: int, total: int, terms: Mapping[str, float] | None = None
    ) -> None:
        """Report progress. Raises LeaseLost, CancelRequested or StopRequested."""

    def checkpoint_due(self) -> bool:
        """Return whether enough time has passed since the last, or the worker is about to stop."""

    def moved(self, count: int) -> None:
        """Report bytes of an artifact in transfer (`ports.Moved`).

        Raises LeaseLost or CancelRequested.
        """

    def save_checkpoint(self, digest: Digest, step: int) -> None:
        """Record a stored checkpoint as the one to resume from. Raises LeaseLost."""

    def skip_checkpoint(self, step: int, facts: Json) -> None:
        """Report that the store had no room for a checkpoint; postpone the next one.

        Raises LeaseLost or StopRequested.
        """

    def emit(self, kind: EventKind, data: Json) -> None:
        """Add an event to the job's history. Raises LeaseLost."""


def ignore_progress(done: int, total: int) -> None:
    """Report no progress."""
    del done, total


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Queries on validation parts, by which training may choose; verdicts use other images."""

    new: ClassQuery  # this update's own holdout
    kept: tuple[EvalQuery, ...]  # the model's suites


@dataclass(frozen=True, kw_only=True)
class TrainingSpec:
    """Everything that determines the weights of an update."""

    parent: Digest  # version digest: the student's start and the teacher
    root: Digest  # version digest of the lineage's root; a first update's parent
    recipe: Recipe  # whose precision is resolved
    classes: tuple[str, ...]  # this update's classes
    learned: tuple[str, ...]  # classes that the lineage learned before, oldest first
    open_classes: tuple[str, ...]  # class names of the model's suites, for label space "open"
    images: tuple[ManifestEntry, ...]  # the training side of the dataset version
    prompt: PromptTemplate
    exemplars: tuple[
        ManifestEntry, ...
    ] = ()  # from training sides of the lineage's earlier updates
    reference: tuple[ManifestEntry, ...] = ()  # zscl's images; texts are sentences, one or more
    selection: Selection | None = None  # for a mixing choice by validation
    feature_statistics: Mapping[str, Digest] = field(default_factory=dict)  # the parent's, by class

    @property
    def pixels(self) -> set[Digest]:
        """All images that the weights depend on."""
        asked = (self.selection.new, *self.selection.kept) if self.selection else ()
        read = [self.images, self.exemplars, self.reference, *(query.entries for query in asked)]
        return {entry.pixels for entries in read for entry in entries}

    def __post_init__(self) -> None:
        if self.recipe.precision is Precision.AUTO:
            raise ValueError("precision 'auto' must be resolved before a task is made")


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The result of training."""

    weights: Weights
    notes: Json  # what training chose by itself, e.g. {"mixing": 0.6, "tried": [...]}
    environments: tuple[Mapping[str, str], ...]  # that training ran in, in order
    feature_statistics: Mapping[str, Digest] = field(default_factory=dict)  # by class, to replay


class Trainer(Protocol):
    def train(self, spec: TrainingSpec, *, resume: Digest | None, monitor: Monitor) -> Trained:
        """Train, then store the tensors, the list of them, and feature statistics.

        Of the statistics, those of the spec are stored already; the others are stored after
        training, like the tensors, so that they are young when a row names them: see `gc`.
        `resume` is a checkpoint that an earlier attempt stored: in the same environment, the
        result has the same digest as an uninterrupted run. Raises Interruption,
        TrainingDiverged, ModelNotTrainable or OutOfMemory.
        """

    def native_precisions(self) -> Collection[Precision]:
        """Return the precisions that the device has instructions for."""


class Importer(Protocol):
    def load(self, base: str, monitor: Monitor) -> tuple[Weights, str]:
        """Store a base as fp32 weights; return these and its default prompt template.

        Raises BaseUnknown.
        """


class Evaluator(Protocol):
    def answer(
        self, version: Digest, queries: Sequence[EvalQuery], monitor: Monitor
    ) -> Sequence[Answers]:
        """Return a version's answers; images that several queries share are encoded once."""


class AnswerCache(Protocol):
    def stored(
        self, versions: Collection[Digest], queries: Collection[Digest]
    ) -> Mapping[tuple[Digest, Digest], Digest]:
        """Return the artifacts with answers of any of the versions to any of the queries."""

    def add(self, version: Digest, query: Digest, answers: Digest) -> None: ...

    def judged(self, query: Digest) -> int:
        """Return how many versions have answered a query."""

    def judged_in(self, model: ModelId, queries: Collection[Digest]) -> Mapping[Digest, int]:
        """Return how many versions of a model, its root not counted, have answered each query."""
