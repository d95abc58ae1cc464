"""Check that a job could start when it is requested."""

from dataclasses import replace

from core.domain.datasets.dataset import DatasetKind, DatasetRef
from core.domain.datasets.manifest import Manifest
from core.domain.datasets.split import Side
from core.domain.evaluation.plan_queries import ScoredSuite
from core.domain.jobs.order import UpdateOrder
from core.domain.recipes.class_lists import require_learnable
from core.domain.recipes.prompt import DEFAULT_PROMPT, PromptTemplate
from core.domain.registry.retention import require_scorable
from core.domain.registry.version import Model, Version
from core.domain.values import ModelId
from core.errors import FieldInvalid
from core.ports import Artifacts, UnitOfWork
from core.use_cases.datasets.freeze import refuse_suite_images
from core.use_cases.datasets.manifests import read_manifest, read_remaining
from core.use_cases.registry.bases import require_trainable_version
from core.use_cases.registry.import_outcome import require_import
from core.use_cases.registry.lineage import ancestors, parent_for_retraining
from core.use_cases.registry.model_suites import open_classes_of, suites_of
from core.use_cases.training.feature_replay import require_replayable
from core.use_cases.training.reference_set import reference_entries, require_reference
from core.use_cases.training.validation_images import selection_of


def preflight_order(
    work: UnitOfWork, artifacts: Artifacts, model: Model, order: UpdateOrder
) -> UpdateOrder:
    """Return the order with its datasets named by id, if its update could start.

    Raises DatasetNotFound, DatasetVersionNotFound or DatasetVersionReplaced, FieldInvalid for a
    captioned dataset, and what `preflight_update` raises.
    """
    dataset = work.datasets.get(order.dataset)
    if dataset.kind is not DatasetKind.LABELLED:
        raise FieldInvalid("An update requires a labelled dataset.", pointer="/dataset")
    version = work.datasets.version(dataset.id, order.dataset_version, keep=True)
    version.require_whole()
    manifest = read_manifest(artifacts, version.manifest)
    return preflight_update(work, artifacts, model, replace(order, dataset=dataset.id), manifest)


def preflight_update(
    work: UnitOfWork, artifacts: Artifacts, model: Model, order: UpdateOrder, manifest: Manifest
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


def present_parent(work: UnitOfWork, model: ModelId, order: UpdateOrder) -> Version | None:
    """Return the parent the update would have if it were claimed now; None before the root exists.

    A named one is locked, so that its weights cannot be deleted from now on, or else the alias.
    Raises VersionNotFound, or AliasNotFound for a model that has versions but not this alias.
    """
    if order.replaces is not None:
        return parent_for_retraining(work, model, order.replaces)
    if order.parent is not None:
        return work.versions.get(model, order.parent, lock=True)
    if not work.versions.page(model, 1, None):
        return None
    return work.versions.get(model, work.aliases.get(model, order.alias, keep=True).version)


def _require_choice(
    work: UnitOfWork, artifacts: Artifacts, model: Model, manifest: Manifest
) -> None:
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


def _with_reference(work: UnitOfWork, artifacts: Artifacts, order: UpdateOrder) -> UpdateOrder:
    if order.reference is None:
        return order
    dataset = work.datasets.get(order.reference.dataset)
    version = work.datasets.version(dataset.id, order.reference.version, keep=True)
    version.require_whole()
    reference_entries(work, read_manifest(artifacts, version.manifest), DEFAULT_PROMPT)
    return replace(order, reference=DatasetRef(dataset=dataset.id, version=version.number))
