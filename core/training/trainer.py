"""The protocol of training: what a trainer is given, and what it returns."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from core.datasets.manifests import ManifestEntry
from core.evaluation.plan import EvaluationPlan
from core.evaluation.queries import ClassQuery, EvalQuery
from core.jobs.rules import Monitor
from core.recipes.fields import Precision, PromptTemplate
from core.recipes.rules import Recipe
from core.registry.versions import Weights
from core.values import Digest, Json


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
    images: tuple[ManifestEntry, ...]  # of these classes: the training side of the dataset version
    prompt: PromptTemplate
    captioned: tuple[ManifestEntry, ...] = ()  # the same of images whose captions are taught
    exemplars: tuple[ManifestEntry, ...] = ()  # from training sides of the line's earlier updates
    captioned_exemplars: tuple[ManifestEntry, ...] = ()  # the same of those that taught captions
    reference: tuple[ManifestEntry, ...] = ()  # zscl's images; texts are sentences, one or more
    selection: Selection | None = None  # for a mixing choice by the best accuracies
    fit: EvaluationPlan | None = None  # for mixing choice fit: the plan on validation parts
    share: float | None = None  # for mixing choice fit, of a repeated update: the first one's share
    feature_statistics: Mapping[str, Digest] = field(default_factory=dict)  # the parent's, by class
    captions_before: bool = False  # an earlier update of the line has taught some

    @property
    def pixels(self) -> set[Digest]:
        """All images that the weights depend on."""
        asked = [self.selection.new, *self.selection.kept] if self.selection else []
        if self.fit is not None:
            asked += [query for _, queries in self.fit.questions for query in queries]
        read = [self.images, self.captioned, self.exemplars, self.captioned_exemplars]
        read += [self.reference, *(query.entries for query in asked)]
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
