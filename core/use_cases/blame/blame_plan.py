"""Plan which groups of an update's images are left out, and what is asked without each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from core.domain.comparison.group_blame import Answered
from core.domain.datasets.image_groups import Grouping, ImageGroup, image_groups
from core.domain.datasets.manifest import ManifestEntry
from core.domain.datasets.split import Side
from core.domain.evaluation.query import ClassQuery
from core.domain.jobs.order import BlameOrder
from core.domain.recipes.choices import Precision
from core.domain.recipes.class_lists import require_learnable
from core.domain.registry.version import Model, Version
from core.domain.values import Digest, canonical_json, sha256
from core.errors import FieldInvalid, TooFewClasses
from core.ports import Platform, UnitOfWork
from core.use_cases.blame.blame_queries import queries_of
from core.use_cases.datasets.manifests import read_manifest
from core.use_cases.training.training_spec import UpdateInputs, inputs_of_version


@dataclass(frozen=True, kw_only=True)
class BlamePlan:
    """The groups of an update's images, the classes asked about, and the update's own answers."""

    model: Model  # with the suites and the policy that are pinned
    version: Version
    parent: Version
    inputs: UpdateInputs
    groups: tuple[ImageGroup, ...]
    classes: tuple[str, ...]
    asked: tuple[str, ...]  # suites and holdouts
    own: Answered
    alpha: float

    @property
    def queries(self) -> tuple[ClassQuery, ...]:
        """The queries that each version without a group answers."""
        return tuple(query for query, _ in self.own)

    @property
    def digest(self) -> Digest:
        """Identifies what each group's answers depend on."""
        groups = [list(group.pixels) for group in self.groups]
        queries = [query.digest for query in self.queries]
        recipe = self.inputs.order.recipe.to_json()
        return sha256(canonical_json([self.version.digest, recipe, groups, queries]))


def plan_blame(
    platform: Platform, model: Model, order: BlameOrder, precision: Precision = Precision.FP32
) -> BlamePlan:
    """Return the plan of a blame; the same one, unless images are erased or answers are lost.

    Raises VersionNotFound, FieldInvalid, LearnedErasedImages, AnswersMissing, or TooFewClasses if a
    group cannot be left out.
    """
    with platform.transactions(read_only=True) as work:
        version = work.versions.get(model.id, order.version)
        if version.recipe is None or version.dataset is None:
            raise FieldInvalid(
                "A root has learned from no images: name a version that an update has made.",
                pointer="/version",
            )
        inputs = inputs_of_version(work, version, precision)
        alpha = work.policies.get(model.policy).alpha
        added_at = _added_at(work, inputs, order.by)
    images = read_manifest(platform.artifacts, inputs.data.manifest).on(Side.TRAIN)
    groups = image_groups(
        images,
        order.by,
        most=order.groups,
        added_at=added_at,
        seed=inputs.order.recipe.seed,
    )
    for group in groups:
        _require_learnable(inputs, images, group)
    classes, asked, own = queries_of(platform, model, version, inputs.parent, order)
    return BlamePlan(
        model=model,
        version=version,
        parent=inputs.parent,
        inputs=inputs,
        groups=groups,
        classes=classes,
        asked=asked,
        own=own,
        alpha=alpha,
    )


def _added_at(work: UnitOfWork, inputs: UpdateInputs, by: Grouping) -> Mapping[Digest, datetime]:
    """Return when images came into the dataset; those of its versions cannot be taken out of it."""
    if by is not Grouping.UPLOAD:
        return {}
    rows = work.datasets.images(inputs.data.dataset)
    return {row.image.pixels: row.added_at for row in rows}


def _require_learnable(
    inputs: UpdateInputs, images: Sequence[ManifestEntry], group: ImageGroup
) -> None:
    out = set(group.pixels)
    left = sorted({entry.class_name for entry in images if entry.pixels not in out})
    try:
        require_learnable(inputs.order.recipe, left, inputs.parent.classes, inputs.open_classes)
    except TooFewClasses as error:
        raise TooFewClasses(
            f"Without {group.name}, only the class {left[0]!r} would be left, and the loss would "
            f"be zero: choose {Grouping.RANDOM.value!r}, or more groups.",
            pointer="/by",
        ) from error
