"""Plan which groups of an update's images are left out, and what is asked without each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from core.blame.rules import Answered, classes_that_fell, of_classes
from core.database.work import Work
from core.datasets.freeze import read_manifest
from core.datasets.image_lists import Grouping, ImageGroup, image_groups
from core.datasets.manifests import ManifestEntry, Side
from core.datasets.rows import Datasets
from core.errors import AnswersMissing, FieldInvalid, TooFewClasses
from core.evaluation.answers import ClassAnswers
from core.evaluation.queries import ClassQuery, NamedQuery, meaning_of
from core.evaluation.stored_answers import StoredAnswers, read_answers
from core.gate.rows import Policies
from core.jobs.orders import BlameOrder
from core.platform import Platform
from core.recipes.rules import require_learnable
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version
from core.training.update_model import UpdateInputs, inputs_of_version
from core.values import Digest, canonical_json, sha256


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
    meanings: Mapping[str, str]  # of the policy: `GatePolicy.meanings`

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


def plan_blame(platform: Platform, model: Model, order: BlameOrder) -> BlamePlan:
    """Return the plan of a blame; the same one, unless images are erased or answers are lost.

    Raises VersionNotFound, FieldInvalid, LearnedErasedImages, AnswersMissing, or TooFewClasses if a
    group cannot be left out.
    """
    with platform.transactions(read_only=True) as work:
        version = work[Versions].get(model.id, order.version)
        if version.recipe is None or version.dataset is None:
            raise FieldInvalid(
                "A root or a conversion has learned from no images: name a version that an update "
                "has made.",
                pointer="/version",
            )
        if not version.update_classes:
            raise FieldInvalid(
                f"Version {version.number} was taught captions, and a blame is about the images of "
                "classes: name a version that was taught classes.",
                pointer="/version",
            )
        inputs = inputs_of_version(work, version)
        policy = work[Policies].get(model.policy)
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
    classes, asked, own = queries_of(
        platform, model, version, inputs.parent, order, policy.meanings
    )
    return BlamePlan(
        model=model,
        version=version,
        parent=inputs.parent,
        inputs=inputs,
        groups=groups,
        classes=classes,
        asked=asked,
        own=own,
        alpha=policy.alpha,
        meanings=policy.meanings,
    )


def _added_at(work: Work, inputs: UpdateInputs, by: Grouping) -> Mapping[Digest, datetime]:
    """Return when images came into the dataset; those of its versions cannot be taken out of it."""
    if by is not Grouping.UPLOAD:
        return {}
    rows = work[Datasets].images(inputs.data.dataset)
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


# The queries: test images of the classes, and what the version itself answered.


def queries_of(
    platform: Platform,
    model: Model,
    version: Version,
    parent: Version,
    order: BlameOrder,
    meanings: Mapping[str, str],
) -> tuple[tuple[str, ...], tuple[str, ...], Answered]:
    """Return the classes, the suites and holdouts that ask about them, and the version's answers.

    Only test images of the classes are asked about. Raises FieldInvalid or AnswersMissing.
    """
    stored = read_answers(platform, model, (parent, version), about=order.class_name)
    queries = [named for named in stored.queries if order.suite in {None, named.name}]
    if not queries and order.suite is not None and order.class_name is None:
        raise FieldInvalid(
            f"Neither a suite of the model nor a holdout of the line is named {order.suite!r}.",
            pointer="/suite",
        )
    if order.class_name is None:
        classes = _fallen(queries, stored, parent, version, meanings)
    else:
        classes = (_spelling(queries, order.class_name, order.suite, meanings),)
    asked: list[str] = []
    own: list[tuple[ClassQuery, ClassAnswers]] = []
    for named in queries:
        answers = stored.answers.get((version.digest, named.query.digest))
        if isinstance(named.query, ClassQuery) and isinstance(answers, ClassAnswers):
            found = of_classes(named.query, answers, classes, meanings)
            asked += [named.name for _ in found]
            own += found
    if not own:
        raise _unanswered(version)
    return classes, tuple(asked), tuple(own)


def _fallen(
    queries: Sequence[NamedQuery],
    stored: StoredAnswers,
    parent: Version,
    version: Version,
    meanings: Mapping[str, str],
) -> tuple[str, ...]:
    for one in (parent, version):
        if not any((one.digest, named.query.digest) in stored.answers for named in queries):
            raise _unanswered(one)
    found = classes_that_fell(
        queries,
        stored.answers,
        parent=parent.digest,
        version=version.digest,
        meanings=meanings,
    )
    if not found:
        raise FieldInvalid(
            f"No class has fallen from version {parent.number} to version {version.number}: name "
            "the class.",
            pointer="/class",
        )
    return found


def _spelling(
    queries: Sequence[NamedQuery], class_name: str, suite: str | None, meanings: Mapping[str, str]
) -> str:
    """Return a class as test images have it, whatever its case. Raises FieldInvalid."""
    wanted = meaning_of(class_name, meanings)
    shown = [entry.class_name for named in queries for entry in named.query.entries]
    same = [name for name in shown if meaning_of(name, meanings) == wanted]
    for name in (*(one for one in same if one.lower() == class_name.lower()), *same):
        return name
    where = f"{suite!r} has" if suite else "No suite of the model and no holdout of the line has"
    negated = "no test images" if suite else "test images"
    raise FieldInvalid(f"{where} {negated} of the class {class_name!r}.", pointer="/class")


def _unanswered(version: Version) -> AnswersMissing:
    return AnswersMissing(
        f"Version {version.number} has no stored answers about the class: order an evaluation of "
        "the version.",
        version=version.number,
    )
