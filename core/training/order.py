"""Order an update, and refuse what could not start."""

from collections.abc import Sequence
from dataclasses import replace

from core.artifacts.store import Artifacts
from core.bases.bases import require_trainable_version
from core.bases.create_model import require_import
from core.database.work import Work
from core.datasets.freeze import freeze, read_manifest, refuse_suite_images, without_suite_images
from core.datasets.manifests import SPLIT_RULE, Manifest, ManifestEntry, Part, Side
from core.datasets.rows import Datasets
from core.datasets.rules import Dataset, DatasetKind, DatasetRef, Suite
from core.datasets.thumbnail_rows import Splits
from core.errors import FieldInvalid, RecipeInvalid, TooFewClasses
from core.evaluation.exams import entries_in, suite_query
from core.evaluation.queries import ClassQuery
from core.evaluation.stored_answers import read_suite
from core.jobs.needs import require_scorable
from core.jobs.orders import CandidateOrder, JobType, UpdateOrder, require_to_order
from core.jobs.queue import JobRequest, order_for_model
from core.jobs.rules import Job, JobNotifier
from core.platform import Platform
from core.recipes.fields import (
    DEFAULT_PROMPT,
    LabelSpace,
    LossTerm,
    MixingChoice,
    PromptTemplate,
    TeacherPolicy,
    drawn_features,
)
from core.recipes.rules import Recipe, require_learnable
from core.registry.alias_rows import Aliases
from core.registry.read import ancestors, open_classes_of, parent_for_retraining, suites_of
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version, VersionStatus, Weights, require_same_images
from core.training.trainer import Selection
from core.values import ModelId


def order_update(
    platform: Platform,
    notifier: JobNotifier,
    request: JobRequest,
    *,
    model: str,
    order: UpdateOrder,
    freezes: bool = False,
) -> Job:
    """Request an update. Whatever would keep it from starting is raised as an error here.

    One that `freezes` learns the dataset's present images, whatever version the order names: they
    become a version unless the newest has the same, and a refusal leaves none behind. Raises
    Forbidden for one that would move its alias and whose principal may not, what `preflight_order`
    raises, and DatasetEmpty.
    """

    def prepare(work: Work, found: Model) -> UpdateOrder:
        require_to_order(request.principal, JobType.UPDATE, order)
        if not freezes:
            return preflight_order(platform, work, found, freeze_captions(platform, work, order))
        dataset, whole = _taught(work, order.dataset), freeze_captions(platform, work, order)
        version = freeze(
            work,
            platform.artifacts,
            dataset,
            platform.clock(),
            accept=lambda manifest: preflight_update(platform, work, found, whole, manifest),
            if_changed=True,
        )
        return preflight_order(
            platform, work, found, replace(whole, dataset_version=version.number)
        )

    return order_for_model(platform, notifier, request, JobType.UPDATE, prepare, model=model)


def freeze_captions(platform: Platform, work: Work, order: UpdateOrder) -> UpdateOrder:
    """Return the order with a version of its captions: without one, of their present images.

    Raises DatasetNotFound, DatasetEmpty, FieldInvalid.
    """
    if order.captions is None or order.captions.version:
        return order
    dataset = _captions(work, order.captions.dataset)
    now = platform.clock()
    version = freeze(work, platform.artifacts, dataset, now, if_changed=True)
    return replace(order, captions=DatasetRef(dataset=dataset.id, version=version.number))


# What a job must fulfil to start when it is requested.


def preflight_order(
    platform: Platform, work: Work, model: Model, order: UpdateOrder
) -> UpdateOrder:
    """Return the order with its datasets named by id, if its update could start.

    Raises DatasetNotFound, DatasetVersionNotFound or DatasetVersionReplaced, FieldInvalid for a
    dataset without texts, and what `preflight_update` raises.
    """
    dataset = _taught(work, order.dataset)
    version = work[Datasets].version(dataset.id, order.dataset_version, keep=True)
    version.require_whole()
    manifest = read_manifest(platform.artifacts, version.manifest)
    return preflight_update(platform, work, model, replace(order, dataset=dataset.id), manifest)


def _taught(work: Work, reference: str) -> Dataset:
    dataset = work[Datasets].get(reference)
    if dataset.kind is DatasetKind.UNLABELLED:
        raise FieldInvalid(
            "An update requires a labelled or a captioned dataset.", pointer="/dataset"
        )
    return dataset


def _captions(work: Work, reference: str) -> Dataset:
    dataset = work[Datasets].get(reference)
    if dataset.kind is not DatasetKind.CAPTIONED:
        raise FieldInvalid(
            "What is taught beside classes is a captioned dataset.", pointer="/captions/dataset"
        )
    return dataset


def preflight_update(
    platform: Platform, work: Work, model: Model, order: UpdateOrder, manifest: Manifest
) -> UpdateOrder:
    """Return the order with its whole recipe, and its reference set named by id, if it could start.

    Raises what would keep an update of these images from starting: ImportFailed, VersionNotFound,
    AliasNotFound, LearnedErasedImages, ParentNotRetrained, ArtifactGone, ModelNotTrainable,
    RecipeInvalid, RecipeUnsafe, PromptInvalid, TooFewPerClass, HoldoutBiased, ImageInSuite,
    TooFewClasses, FieldInvalid (another prompt than the line's); of methods that need more than
    images, FieldInvalid, RecipeInvalid, DatasetNotFound, DatasetVersionNotFound,
    DatasetVersionReplaced. Of captions, FieldInvalid for too few or another prompt, and
    RecipeInvalid for a mixing choice that weighs classes.
    """
    artifacts = platform.artifacts
    order = with_whole_recipe(model, order)
    if order.prompt is not None:
        PromptTemplate(order.prompt)
    require_import(work, model)
    parent = present_parent(work, model.id, order)
    if parent is not None:
        parent.require_clean()
        parent.require_prompt(order.prompt)
        line = (*ancestors(work, parent), parent)
        require_scorable(line)
        require_trainable_version(artifacts, parent.digest, order.recipe)
        require_replayable(artifacts, line, order.recipe)
    manifest.require_trainable()
    _require_fair_holdout(work, order, manifest)
    refuse_suite_images(work, manifest.entries)
    learned = parent.classes if parent else ()
    order, beside = _with_captions(work, artifacts, order, manifest)
    if manifest.kind is DatasetKind.CAPTIONED:
        require_captions(manifest.on(Side.TRAIN), order, parent)
    else:
        if beside is not None:
            require_captions(beside.on(Side.TRAIN), order, parent, pointer="/captions")
            _require_shown(work, manifest, beside)
        try:
            require_learnable(order.recipe, manifest.classes, learned, open_classes_of(work, model))
        except TooFewClasses as refusal:
            raise _with_child(work, parent, order, refusal) from None
    require_reference(order)
    if order.recipe.mixing_choice.is_best:
        suites, classes = suites_of(work, model), manifest.classes
        selection_of(work, artifacts, manifest, suites, classes=classes, prompt=DEFAULT_PROMPT)
    return _with_reference(work, artifacts, order)


def with_whole_recipe(model: Model, order: UpdateOrder) -> UpdateOrder:
    """Return the order with the model's default for what its recipe leaves out.

    An order that is placed before the model's root is imported stays as it is: its first claim
    calls this again. Raises RecipeInvalid, or RecipeUnsafe unless the order is forced or repeats a
    version.
    """
    default = model.default_recipe
    if default is None:
        return order
    if order.given is not None:
        order = replace(order, recipe=default.complete(order.given), given=None)
    if not order.force and order.replaces is None:
        default.require_safe(order.recipe)
    return order


def _with_captions(
    work: Work, artifacts: Artifacts, order: UpdateOrder, manifest: Manifest
) -> tuple[UpdateOrder, Manifest | None]:
    """Return the order with the captions beside its classes named by id, and their manifest."""
    if order.captions is None:
        return order, None
    if manifest.kind is DatasetKind.CAPTIONED:
        raise FieldInvalid(
            "The dataset has captions itself: an update teaches one dataset of captions, alone or "
            "beside one of classes.",
            pointer="/captions",
        )
    dataset = _captions(work, order.captions.dataset)
    version = work[Datasets].version(dataset.id, order.captions.version, keep=True)
    version.require_whole()
    found = read_manifest(artifacts, version.manifest)
    _require_fair_holdout(work, order, found)
    refuse_suite_images(work, found.entries)
    named = DatasetRef(dataset=dataset.id, version=version.number)
    return replace(order, captions=named), found


def _require_fair_holdout(work: Work, order: UpdateOrder, manifest: Manifest) -> None:
    """Raise HoldoutBiased unless what is held out is fair, or what an erasure has left."""
    if order.replaces is None:
        manifest.require_fair_holdout(work[Splits].get())


def _require_shown(work: Work, *taught: Manifest) -> None:
    """Raise FieldInvalid unless held-out images show what was learned of each dataset."""
    split = work[Splits].get()
    for pointer, manifest in zip(("/dataset", "/captions"), taught, strict=True):
        if not entries_in(Part.TEST, manifest.drawn_holdout(split)):
            raise FieldInvalid(
                "An update of classes and captions has to gain in both, and no test image of this "
                f"dataset is held out: add images. {SPLIT_RULE}",
                pointer=pointer,
            )


def require_captions(
    images: Sequence[ManifestEntry],
    order: UpdateOrder,
    parent: Version | None,
    *,
    pointer: str = "/dataset",
) -> None:
    """Raise FieldInvalid if captions cannot be learned, RecipeInvalid if shares weigh classes.

    The loss tells an image's captions from those of others: where all are the same, it is 0. No
    image shows what callers of classes get in another prompt than the parent's, unless classes are
    taught too.
    """
    changed = order.prompt is not None and (parent is None or order.prompt != parent.prompt.text)
    if changed and order.captions is None:
        raise FieldInvalid(
            "An update of captions keeps the prompt of its parent, because nothing would measure "
            "what callers get in another one: leave `prompt` out.",
            pointer="/prompt",
        )
    if len({entry.texts for entry in images}) < 2:
        raise FieldInvalid(
            "Captions are learned by telling them apart, so an update requires at least two "
            f"training images with different captions. {SPLIT_RULE}",
            pointer=pointer,
        )
    choice = order.recipe.mixing_choice
    if choice not in {MixingChoice.NONE, MixingChoice.FIXED}:
        raise RecipeInvalid(
            f"The mixing choice '{choice}' weighs what was learned of classes, and "
            "this update teaches captions: choose 'none' or 'fixed'.",
            pointer="/recipe/mixing_choice",
        )


def _with_child(
    work: Work, parent: Version | None, order: UpdateOrder, refusal: TooFewClasses
) -> TooFewClasses:
    """Return the refusal with what to do if a version that is not live has learned classes."""
    named = order.parent or order.replaces
    if parent is None or named or order.recipe.label_space is LabelSpace.SESSION:
        return refusal
    children = (one for one in work[Versions].all(parent.model) if one.parent == parent.number)
    taught = (one for one in children if one.update_classes)
    waiting = [one.number for one in taught if one.status is not VersionStatus.REJECTED]
    if not waiting:
        return refusal
    return TooFewClasses(
        f"{refusal.message} Version {waiting[-1]} has learned classes, but is not live: promote it "
        f"with a reason, train from it (parent {waiting[-1]}), or teach its classes and this one "
        "together.",
        pointer=refusal.pointer,
        version=waiting[-1],
    )


def present_parent(work: Work, model: ModelId, order: CandidateOrder) -> Version | None:
    """Return the parent the order would have if it were claimed now; None before the root exists.

    A named one is locked, so that its weights cannot be deleted from now on, or else the alias.
    Raises VersionNotFound, or AliasNotFound for a model that has versions but not this alias.
    """
    if order.replaces is not None:
        return parent_for_retraining(work, model, order.replaces)
    if order.parent is not None:
        return work[Versions].get(model, order.parent, lock=True)
    if not work[Versions].page(model, 1, None):
        return None
    return work[Versions].get(model, work[Aliases].get(model, order.alias, keep=True).version)


def _with_reference(work: Work, artifacts: Artifacts, order: UpdateOrder) -> UpdateOrder:
    if order.reference is None:
        return order
    dataset = work[Datasets].get(order.reference.dataset)
    version = work[Datasets].version(dataset.id, order.reference.version, keep=True)
    version.require_whole()
    reference_entries(work, read_manifest(artifacts, version.manifest), DEFAULT_PROMPT)
    return replace(order, reference=DatasetRef(dataset=dataset.id, version=version.number))


# Validation images for an update that chooses its own mixing weight.


def selection_of(
    work: Work,
    artifacts: Artifacts,
    manifest: Manifest,
    suites: Sequence[Suite],
    *,
    classes: tuple[str, ...],
    prompt: PromptTemplate,
) -> Selection:
    """Return the plan's queries over the validation parts instead of the test parts.

    The holdout is that of the update's manifest, `classes` is all that the line will have learned.
    Raises RecipeInvalid, naming what has no validation image: without it, the choice could not
    weigh the gain against the loss on every suite.
    """
    own = entries_in(Part.VALIDATION, manifest.on(Side.HOLDOUT))
    kept = {
        suite.name: suite_query(read_suite(work, artifacts, suite), Part.VALIDATION)
        for suite in suites
    }
    missing = [f"suite {name!r}" for name, question in kept.items() if question is None]
    if not own:
        missing.insert(0, "this update's holdout")
    if not suites:
        missing.append("the model's suites (it has none)")
    if missing:
        raise RecipeInvalid(
            "Mixing choices 'validation' and 'per_layer' choose shares on validation images (about "
            "a fifth of each suite's and 4 % of the update's images). There are none in: "
            f"{', '.join(missing)}.",
            pointer="/recipe/mixing_choice",
            missing=missing,
        )
    return Selection(
        new=ClassQuery(entries=own, classes=classes, prompt=prompt),
        kept=tuple(question for question in kept.values() if question is not None),
    )


# The reference set of an update: images whose similarities an update must keep.

POINTER = "/reference"


def require_reference(order: UpdateOrder) -> None:
    """Raise FieldInvalid unless the order names a reference set just where one is needed."""
    needs = LossTerm.REFERENCE in order.recipe.terms
    if needs and order.reference is None:
        raise FieldInvalid(
            "The term 'reference' requires a reference set: name a dataset version.",
            pointer=POINTER,
        )
    if not needs and order.reference is not None:
        raise FieldInvalid(
            "Only the term 'reference' takes a reference set, and this recipe does not have it.",
            pointer=POINTER,
        )


def reference_entries(
    work: Work, manifest: Manifest, prompt: PromptTemplate
) -> tuple[ManifestEntry, ...]:
    """Return the images of a reference set that may be seen in training, each with its sentences.

    Captions are used as they are, classes in the parent's `prompt`. Images of a suite, their
    near-duplicates and those on the holdout side are left out. Raises FieldInvalid when no image
    is left, or for images without texts.
    """
    if manifest.kind is DatasetKind.UNLABELLED:
        raise FieldInvalid("A reference set requires classes or captions.", pointer=POINTER)
    entries = without_suite_images(work, manifest.on(Side.TRAIN))
    if not entries:
        raise FieldInvalid(
            "The reference set has no image to train on: all are in suites or held out.",
            pointer=POINTER,
        )
    if manifest.kind is DatasetKind.CAPTIONED:
        return entries
    return tuple(replace(entry, texts=prompt.fill_all(entry.texts)) for entry in entries)


# The replay of features of the classes that an update's parent has learned.


def require_replayable(artifacts: Artifacts, line: Sequence[Version], recipe: Recipe) -> None:
    """Raise ModelNotTrainable if features are to be replayed and a teacher has others.

    That does not depend on whether there are any yet: the next update is to replay this one's.
    `line` is root first, parent last. Raises ArtifactMissing, ArtifactCorrupt.
    """
    if not recipe.feature_replay or not recipe.terms or recipe.teacher is TeacherPolicy.PARENT:
        return
    root, parent = (
        Weights.from_bytes(artifacts.get(version.digest)) for version in (line[0], line[-1])
    )
    require_same_images(root, parent, recipe.part)


def replayed_features(recipe: Recipe, parent: Version | None, images: int, classes: int) -> int:
    """Return how many features an update of so many images and classes replays.

    Of a parent that was taught by another part, there are none that this one may draw from.
    """
    if parent is None or not recipe.feature_replay:
        return 0
    if parent.recipe is not None and parent.recipe.part is not recipe.part:
        return 0
    replayed = len(parent.feature_statistics)
    each = drawn_features(recipe.feature_replay, replayed, images=images, classes=classes)
    return each * replayed
