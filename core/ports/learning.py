"""What a worker does with a model: import, train, evaluate."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from core.domain.datasets.dataset import ManifestEntry
from core.domain.evaluation.query import Answers, ClassQuery, EvalQuery
from core.domain.jobs.job import EventKind
from core.domain.recipes.prompt import PromptTemplate
from core.domain.recipes.recipe import Precision, Recipe
from core.domain.registry.version import Weights
from core.domain.values import Digest, Json


class Monitor(Protocol):
    """The eye on a running job: renews its lease while it advances, and stops it."""

    def advance(
        self, phase: str, step: int, total: int, terms: Mapping[str, float] | None = None
    ) -> None:
        """Say how far the job is. Raises LeaseLost, CancelRequested or StopRequested."""

    def checkpoint_due(self) -> bool:
        """Whether enough time has passed, or the worker is about to stop."""

    def moved(self, count: int) -> None:
        """Say that bytes of an artifact move (`ports.Moved`). Raises LeaseLost, CancelRequested."""

    def save_checkpoint(self, digest: Digest, step: int) -> None:
        """Make a stored checkpoint the one that counts. Raises LeaseLost."""

    def skip_checkpoint(self, step: int, facts: Json) -> None:
        """Say that the store had no room for a checkpoint; the next one is due later.

        Raises LeaseLost or StopRequested.
        """

    def emit(self, kind: EventKind, data: Json) -> None:
        """Add an event to the job's history. Raises LeaseLost."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Validation parts, by which training may choose: never what a verdict is given on."""

    new: ClassQuery  # this update's own holdout
    kept: tuple[EvalQuery, ...]  # the model's suites


@dataclass(frozen=True, kw_only=True)
class TrainingSpec:
    """Everything that decides the weights of an update."""

    parent: Digest  # version digest: the student's start and the teacher
    root: Digest  # version digest of the line's first version; a first update's parent
    recipe: Recipe  # whose precision is resolved
    classes: tuple[str, ...]  # this update's classes
    learned: tuple[str, ...]  # classes the line learned before, oldest first
    open_classes: tuple[str, ...]  # class names of the model's suites, for label space "open"
    images: tuple[ManifestEntry, ...]  # the training side of the dataset version
    prompt: PromptTemplate
    exemplars: tuple[ManifestEntry, ...] = ()  # training sides of the line's earlier updates
    reference: tuple[ManifestEntry, ...] = ()  # zscl's images; texts are sentences, one or more
    selection: Selection | None = None  # for method "wise"

    def __post_init__(self) -> None:
        if self.recipe.precision is Precision.AUTO:
            raise ValueError("what `auto` means is resolved before there is a task")


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What an update made."""

    weights: Weights
    notes: Json  # what training chose by itself, e.g. {"mixing": 0.6, "tried": [...]}
    environments: tuple[Mapping[str, str], ...]  # what it went through in order, this one last


class Trainer(Protocol):
    def train(self, spec: TrainingSpec, *, resume: Digest | None, monitor: Monitor) -> Trained:
        """Train and store the tensors; the weights' own artifact is stored too.

        `resume` is a checkpoint that an earlier attempt stored: in the same environment, the
        result has the digest the undisturbed run would have had. Raises Interruption,
        TrainingDiverged, ModelNotTrainable, OutOfMemory.
        """

    def native_precisions(self) -> Collection[Precision]:
        """The precisions that the device has instructions for."""


class Importer(Protocol):
    def load(self, base: str, monitor: Monitor) -> tuple[Weights, str]:
        """Store a base as fp32 weights; also its default prompt template. Raises BaseUnknown."""


class Evaluator(Protocol):
    def answer(
        self, version: Digest, questions: Sequence[EvalQuery], monitor: Monitor
    ) -> Sequence[Answers]:
        """Ask a version all questions; images that several share are encoded once."""


class AnswerCache(Protocol):
    def find(self, version: Digest, question: Digest) -> Digest | None:
        """The artifact with a version's answers to a question, if it was asked before."""

    def add(self, version: Digest, question: Digest, answers: Digest) -> None: ...

    def judged(self, question: Digest) -> int:
        """How many versions have answered this question."""
