"""Order an update, and refuse what could not start."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from core.artifacts.store import Artifacts
from core.bases.bases import require_trainable_version
from core.bases.create_model import require_import
from core.database.work import Work
from core.datasets.edit import Receipt, Upload, add_dataset
from core.datasets.freeze import (
    freeze,
    read_manifest,
    read_remaining,
    refuse_suite_images,
    without_suite_images,
)
from core.datasets.manifests import Manifest, ManifestEntry, Part, Side
from core.datasets.receive import (
    SimilaritySearch,
    delete_erased,
    record,
    require_quota,
    search_uploads,
)
from core.datasets.rows import Datasets
from core.datasets.rules import Dataset, DatasetKind, DatasetRef, DatasetVersion
from core.errors import FieldInvalid, Forbidden, IdempotencyMismatch, RecipeInvalid, TooFewPerClass
from core.evaluation.plan import ScoredSuite, entries_in, suite_query
from core.evaluation.queries import ClassQuery
from core.images.decoder import Decoder
from core.jobs.needs import require_scorable
from core.jobs.orders import JobType, UpdateOrder
from core.jobs.queue import (
    JobRequest,
    enqueue,
    find_replayed,
    notify_workers,
    order_for_model,
    require_queue_room,
)
from core.jobs.rules import Job, JobNotifier
from core.platform import Platform
from core.principal import Principal, Role
from core.recipes.fields import (
    DEFAULT_PROMPT,
    LossTerm,
    PromptTemplate,
    TeacherPolicy,
    drawn_features,
)
from core.recipes.rules import Recipe, require_learnable
from core.registry.alias_rows import Aliases
from core.registry.read import ancestors, open_classes_of, parent_for_retraining, suites_of
from core.registry.rows import Models, Versions
from core.registry.versions import Model, Version, Weights, require_same_images
from core.training.trainer import Selection
from core.values import DatasetId, ModelId, new_id

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
    require_same_images(root, parent)


def replayed_features(recipe: Recipe, parent: Version | None, images: int, classes: int) -> int:
    """Return how many features an update of so many images and classes replays."""
    if parent is None or not recipe.feature_replay:
        return 0
    replayed = len(parent.feature_statistics)
    each = drawn_features(recipe.feature_replay, replayed, images=images, classes=classes)
    return each * replayed


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
    is left.
    """
    entries = without_suite_images(work, manifest.on(Side.TRAIN))
    if not entries:
        raise FieldInvalid(
            "The reference set has no image to train on: all are in suites or held out.",
            pointer=POINTER,
        )
    if manifest.kind is DatasetKind.CAPTIONED:
        return entries
    return tuple(replace(entry, texts=prompt.fill_all(entry.texts)) for entry in entries)


# Validation images for an update that chooses its own mixing weight.


def selection_of(
    *,
    holdout: Sequence[ManifestEntry],
    classes: tuple[str, ...],
    prompt: PromptTemplate,
    suites: Sequence[ScoredSuite],
) -> Selection:
    """Return the plan's queries over the validation parts instead of the test parts.

    `holdout` is held out of the update, `classes` is all that the line will have learned.
    Raises RecipeInvalid, naming what has no validation image: without it, the choice could not
    weigh the gain against the loss on every suite.
    """
    own = entries_in(Part.VALIDATION, holdout)
    kept = {s.suite.name: suite_query(s, Part.VALIDATION) for s in suites}
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


# Check that a job could start when it is requested.


def preflight_order(
    work: Work, artifacts: Artifacts, model: Model, order: UpdateOrder
) -> UpdateOrder:
    """Return the order with its datasets named by id, if its update could start.

    Raises DatasetNotFound, DatasetVersionNotFound or DatasetVersionReplaced, FieldInvalid for a
    captioned dataset, and what `preflight_update` raises.
    """
    dataset = work[Datasets].get(order.dataset)
    if dataset.kind is not DatasetKind.LABELLED:
        raise FieldInvalid("An update requires a labelled dataset.", pointer="/dataset")
    version = work[Datasets].version(dataset.id, order.dataset_version, keep=True)
    version.require_whole()
    manifest = read_manifest(artifacts, version.manifest)
    return preflight_update(work, artifacts, model, replace(order, dataset=dataset.id), manifest)


def preflight_update(
    work: Work, artifacts: Artifacts, model: Model, order: UpdateOrder, manifest: Manifest
) -> UpdateOrder:
    """Return the order with its reference set named by id if an update of these images could start.

    Raises what would keep it from starting: ImportFailed, VersionNotFound, AliasNotFound,
    LearnedErasedImages, ParentNotRetrained, ArtifactGone, ModelNotTrainable, PromptInvalid,
    TooFewPerClass, ImageInSuite, TooFewClasses; of methods that need more than images,
    FieldInvalid, RecipeInvalid, DatasetNotFound, DatasetVersionNotFound, DatasetVersionReplaced.
    """
    if order.prompt is not None:
        PromptTemplate(order.prompt)
    require_import(work, model)
    parent = present_parent(work, model.id, order)
    if parent is not None:
        parent.require_clean()
        line = (*ancestors(work, parent), parent)
        require_scorable(line)
        require_trainable_version(artifacts, parent.digest, order.recipe)
        require_replayable(artifacts, line, order.recipe)
    manifest.require_trainable()
    refuse_suite_images(work, manifest.entries)
    learned = parent.classes if parent else ()
    require_learnable(order.recipe, manifest.classes, learned, open_classes_of(work, model))
    require_reference(order)
    if order.recipe.mixing_choice.uses_validation:
        _require_choice(work, artifacts, model, manifest)
    return _with_reference(work, artifacts, order)


def present_parent(work: Work, model: ModelId, order: UpdateOrder) -> Version | None:
    """Return the parent the update would have if it were claimed now; None before the root exists.

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


def _require_choice(work: Work, artifacts: Artifacts, model: Model, manifest: Manifest) -> None:
    """Raise RecipeInvalid when there are no validation images to choose a mixing weight by."""
    selection_of(
        holdout=manifest.on(Side.HOLDOUT),
        classes=manifest.classes,
        prompt=DEFAULT_PROMPT,
        suites=[
            ScoredSuite(suite=suite, manifest=read_remaining(work, artifacts, suite.manifest))
            for suite in suites_of(work, model)
        ],
    )


def _with_reference(work: Work, artifacts: Artifacts, order: UpdateOrder) -> UpdateOrder:
    if order.reference is None:
        return order
    dataset = work[Datasets].get(order.reference.dataset)
    version = work[Datasets].version(dataset.id, order.reference.version, keep=True)
    version.require_whole()
    reference_entries(work, read_manifest(artifacts, version.manifest), DEFAULT_PROMPT)
    return replace(order, reference=DatasetRef(dataset=dataset.id, version=version.number))


# Order an update.


def order_update(
    platform: Platform,
    notifier: JobNotifier,
    request: JobRequest,
    *,
    model: str,
    order: UpdateOrder,
    priority: int = 0,
    metadata: Mapping[str, str] | None = None,
) -> Job:
    """Request an update. Whatever would keep it from starting is raised as an error here.

    Raises Forbidden for one that would move its alias and whose principal may not, and what
    `preflight_order` raises.
    """

    def prepare(work: Work, found: Model) -> UpdateOrder:
        require_promoter(request.principal, order)
        return preflight_order(work, platform.artifacts, found, order)

    return order_for_model(
        platform,
        notifier,
        request,
        JobType.UPDATE,
        prepare,
        model=model,
        priority=priority,
        metadata=metadata,
    )


def require_promoter(principal: Principal, order: UpdateOrder) -> None:
    """Raise Forbidden for an update that would move its alias if the principal may not move any."""
    if order.auto_promote and not principal.may(Role.OPERATOR):
        raise Forbidden(
            "An update that moves its alias when it passes takes at least the role "
            f"{Role.OPERATOR}: order it with auto_promote false, and let an operator promote its "
            "version.",
            required_role=Role.OPERATOR.value,
            role=principal.role and principal.role.value,
        )


# The one-call start: images of some classes become a dataset, its version and an update.


@dataclass(frozen=True, kw_only=True)
class Start:
    """The result of the one call."""

    dataset: Dataset
    version: DatasetVersion
    receipts: Sequence[Receipt]
    job: Job


def learn_classes(
    platform: Platform,
    decoder: Decoder,
    notifier: JobNotifier,
    request: JobRequest,
    *,
    model: str,
    recipe: Recipe,
    reference: DatasetRef | None = None,
    uploads: Sequence[Upload],
    keep_images: Callable[[], None],
) -> Start:
    """Teach a model the classes of some images, all or nothing.

    Everything is first tried in a transaction that is rolled back before `keep_images` stores
    the first byte, so a refusal leaves nothing behind. The update moves its alias when it passes if
    an operator asks. Raises what `order_update` raises,
    AllRejected, QuotaExceeded, and TooFewPerClass also when no image of a class was accepted.
    """
    now = platform.clock()
    dataset_id = DatasetId(new_id("ds", now))
    name = f"{model[:40]}-{dataset_id.removeprefix('ds_')[:16]}"
    dataset = Dataset(id=dataset_id, name=name, kind=DatasetKind.LABELLED, created_at=now)
    order = UpdateOrder(
        dataset=dataset_id,
        dataset_version=1,
        recipe=recipe,
        auto_promote=request.principal.may(Role.OPERATOR),
        reference=reference,
    )
    searched = search_uploads(platform, decoder, uploads)
    start = _Start(platform, request, model, order, dataset, uploads, searched, now)
    with platform.transactions() as work:
        if known := find_replayed(work, request):
            return start.again(work, known)
        require_quota(platform.settings, work, [upload.image for upload in uploads])
        start.make(work)
    keep_images()
    delete_erased(platform, uploads)
    with platform.transactions() as work:
        made = start.make(work)
        work.commit()
    notify_workers(notifier, made.job)
    return made


@dataclass(frozen=True)
class _Start:
    platform: Platform
    request: JobRequest
    model: str
    order: UpdateOrder
    dataset: Dataset
    uploads: Sequence[Upload]
    searched: SimilaritySearch
    now: datetime

    def make(self, work: Work) -> Start:
        """Fill the dataset, freeze it and queue the update."""
        model = work[Models].get(self.model)
        require_queue_room(self.platform.settings, work, self.request.principal, model)
        receipts = self._record(work)
        manifest = Manifest.of(DatasetKind.LABELLED, work[Datasets].images(self.dataset.id))
        _require_every_class(self.uploads, manifest)
        artifacts = self.platform.artifacts
        order = preflight_update(work, artifacts, model, self.order, manifest)
        version = freeze(work, artifacts, self.dataset, self.now)
        order = replace(order, dataset_version=version.number)
        job = enqueue(work, self.request, model, JobType.UPDATE, order, self.now)
        return Start(dataset=self.dataset, version=version, receipts=receipts, job=job)

    def again(self, work: Work, job: Job) -> Start:
        """Return what the call that first used the Idempotency-Key returned."""
        receipts = self._record(work)
        order = job.order
        if not isinstance(order, UpdateOrder):
            raise IdempotencyMismatch
        return Start(
            dataset=work[Datasets].get(order.dataset),
            version=work[Datasets].version(order.dataset, order.dataset_version),
            receipts=receipts,
            job=job,
        )

    def _record(self, work: Work) -> list[Receipt]:
        add_dataset(work, self.dataset)
        return record(work, self.dataset, self.uploads, self.searched, self.now)


def _require_every_class(uploads: Sequence[Upload], manifest: Manifest) -> None:
    """Raise TooFewPerClass for a class that was named and has no image."""
    missing = sorted({upload.text for upload in uploads} - set(manifest.classes))
    if missing:
        raise TooFewPerClass(
            f"No image of these classes was accepted: {', '.join(missing)}.",
            classes=dict.fromkeys(missing, 0),
        )
