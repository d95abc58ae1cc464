"""Teach a model a dataset version: the update job."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from core.audit import record as audit
from core.audit.rules import Action
from core.database.work import Work
from core.datasets.freeze import read_manifest, refuse_suite_images, without_suite_images
from core.datasets.manifests import Manifest, ManifestEntry, Side
from core.datasets.rows import Datasets, ErasedImages
from core.datasets.rules import DatasetKind, DatasetVersion, Suite
from core.engines.compiler import Compiler
from core.errors import ArtifactMissing, ImageErased
from core.evaluation.fitting import are_usable, plan_to_fit, versions_beside
from core.evaluation.read_plan import pinned_model
from core.jobs.needs import require_scorable
from core.jobs.orders import CandidateOrder, UpdateOrder
from core.jobs.rows import Jobs
from core.jobs.rules import Beside, EventKind, Job, Monitor, model_of
from core.platform import Platform
from core.recipes.fields import MixingChoice, Precision, PromptTemplate
from core.recipes.rules import distinct
from core.registry.alias_rows import Aliases
from core.registry.marks import Marks
from core.registry.read import ancestors, open_classes_of, parent_for_retraining, suites_of
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version, precision_of
from core.training.order import reference_entries, require_captions, selection_of, with_whole_recipe
from core.training.trainer import Trainer, TrainingSpec
from core.values import Digest


@dataclass(frozen=True, kw_only=True)
class UpdateInputs:
    """All rows that an update depends on. None of them changes once the job has pinned them."""

    order: UpdateOrder
    model: Model  # with the suites as they are pinned
    line: tuple[Version, ...]  # root first, parent last
    data: DatasetVersion
    captions: DatasetVersion | None  # taught beside the classes of `data`
    open_classes: tuple[str, ...]
    suites: tuple[Suite, ...]
    lessons: tuple[DatasetVersion, ...]  # of earlier updates, if the recipe replays them
    reference: DatasetVersion | None
    beside: Beside | None  # for mixing choice fit
    share: float | None = None  # likewise, of an update that is repeated
    repeated: bool = False  # a version was made of them before

    @property
    def parent(self) -> Version:
        """The version that is trained further."""
        return self.line[-1]

    @property
    def prompt(self) -> PromptTemplate:
        """The update's prompt template: the order's, or else the parent's."""
        return PromptTemplate(self.order.prompt) if self.order.prompt else self.parent.prompt

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that the line has learned once this update is in."""
        return distinct(self.parent.classes + self.data.classes)


def update_model(
    platform: Platform,
    trainer: Trainer,
    compiler: Compiler,
    job: Job,
    order: UpdateOrder,
    monitor: Monitor,
) -> int:
    """Train and compile with no transaction open and commit the candidate; its version number.

    A resumed job that has committed its candidate already goes on from there. Raises what
    `pin_inputs`, `spec_of`, the compiler and the trainer raise, and ImageErased or
    LearnedErasedImages when something that it has learned from was erased meanwhile.
    """
    if job.version is not None:
        return job.version
    native = trainer.native_precisions()
    with platform.transactions() as work:
        inputs = pin_inputs(work, job, order, native=native)
        work.commit()
    order = inputs.order
    compiler.require(inputs.parent.digest)
    if order.recipe.mixing_choice is MixingChoice.FIT and inputs.beside is None:
        inputs = replace(inputs, beside=_pin_beside(platform, job, inputs))
    recipe = inputs.order.recipe
    warn_if_slow(recipe.precision, native, monitor)
    spec = spec_of(platform, inputs)
    try:
        trained = trainer.train(spec, resume=job.checkpoint, monitor=monitor)
    except ArtifactMissing:
        with platform.transactions(read_only=True) as work:
            _require_unerased(work, inputs, spec)
        raise
    compiler.compile(trained.weights.digest, monitor)
    now = platform.clock()
    with platform.transactions() as work:
        for learned in (inputs.data, inputs.captions):
            if learned is not None:
                work[Datasets].version(learned.dataset, learned.number, keep=True)
        number = work[Versions].next_number(inputs.model.id)
        _require_unerased(work, inputs, spec)
        candidate = Version(
            model=inputs.model.id,
            number=number,
            digest=trained.weights.digest,
            size=trained.weights.size,
            precision=precision_of(trained.weights.config),
            parent=inputs.parent.number,
            job=job.id,
            recipe=recipe,
            dataset=order.dataset,
            dataset_version=order.dataset_version,
            update_classes=inputs.data.classes,
            classes=inputs.classes,
            prompt=inputs.prompt,
            environment=trained.environments[-1],
            environments=trained.environments,
            captions=order.captions,
            reference=order.reference,
            notes=dict(trained.notes),
            feature_statistics=dict(trained.feature_statistics),
            replaces=order.replaces,
            created_at=now,
        )
        checkpoint = work[Jobs].get(job.id).checkpoint
        add_candidate(work, job, candidate)
        work.commit()
    if checkpoint is not None:
        platform.artifacts.delete(checkpoint)
    return candidate.number


def add_candidate(work: Work, job: Job, candidate: Version) -> None:
    """Store a job's version, without a verdict yet: a later claim goes on from it."""
    now = candidate.created_at
    for model, marked in work[Marks].clear(candidate):  # without the images: see there
        audit.record(
            work,
            Action.VERSION_CLEARED,
            f"models/{work[Models].get(model).name}/versions/{marked}",
            now=now,
            after={"version": candidate.number, "model": work[Models].get(candidate.model).name},
            actor=f"job {job.id}",
        )
    work[Versions].add(candidate)
    work[Jobs].set_version(job.id, job.fence, candidate.number)
    work[Jobs].add_event(job.id, EventKind.CANDIDATE, {"version": candidate.number}, now)


def _require_unerased(work: Work, inputs: UpdateInputs, spec: TrainingSpec) -> None:
    """Raise unless everything is still there that the weights depend on.

    A transaction that makes a version has its number: an erasure locks the models before it marks
    versions, so one of the two sees what the other has written.
    """
    asked = inputs.beside.asked if inputs.beside else ()  # which have chosen the share
    compared = work[Versions].some(inputs.model.id, asked).values()
    for version in (work[Versions].get(inputs.model.id, inputs.parent.number), *compared):
        version.require_clean()
    if erased := work[ErasedImages].erased(spec.pixels):
        raise ImageErased(
            "An image was erased while the update learned from it.", pixels=sorted(erased)[:20]
        )


# The training spec of an update: pinned at its first claim, then read from the store.


def pin_inputs(
    work: Work, job: Job, order: UpdateOrder, *, native: Collection[Precision]
) -> UpdateInputs:
    """Fix a claimed job's recipe, parent and precision, unless an earlier claim has.

    Returns its rows; the order names the precision in force. `native` is what this worker's
    device has instructions for.
    Raises LeaseLost; of a recipe that was ordered before the model was imported, RecipeInvalid or
    RecipeUnsafe; AliasNotFound, VersionNotFound or ParentNotRetrained without a parent;
    LearnedErasedImages or DatasetVersionReplaced if what it is to learn from was erased;
    FieldInvalid if the parent's line has another prompt; ArtifactGone if its update could not be
    trained or scored.
    """
    model = pinned_model(work, job.id)
    if order.given is not None:
        order = with_whole_recipe(model, order)
        work[Jobs].pin_order(job.id, job.fence, order)
    line = pin_line(work, job, order)
    line[-1].require_prompt(order.prompt)
    precision = job.precision or order.recipe.precision.on(native)
    work[Jobs].pin_precision(job.id, job.fence, precision)
    order = replace(order, recipe=replace(order.recipe, precision=precision))
    inputs = _inputs(work, order, model, line, job.beside)
    for named in (inputs.data, inputs.captions, inputs.reference):
        if named is not None:
            named.require_whole()
    return inputs


def pin_line(work: Work, job: Job, order: CandidateOrder) -> tuple[Version, ...]:
    """Fix a claimed job's parent, unless an earlier claim has; return its line, root first.

    Raises what `pin_inputs` raises of a parent.
    """
    model = model_of(job)
    number = job.parent_version or order.parent
    if number is None and order.replaces is not None:
        number = parent_for_retraining(work, model, order.replaces).number
    if number is None:
        number = work[Aliases].get(model, order.alias).version
    parent = work[Versions].get(model, number, lock=True)
    parent.require_clean()
    line = (*ancestors(work, parent), parent)
    require_scorable(line)
    work[Jobs].set_parent(job.id, job.fence, parent.number)
    return line


def _pin_beside(platform: Platform, job: Job, inputs: UpdateInputs) -> Beside:
    """Fix what a claimed update has to fit. No manifest is read while others wait to write."""
    while True:
        with platform.transactions(read_only=True) as work:
            beside = versions_beside(
                work, platform.artifacts, inputs.model, inputs.line, inputs.order.alias
            )
        with platform.transactions() as work:
            if are_usable(work, inputs.model, beside):  # or one has gone since
                work[Jobs].pin_beside(job.id, job.fence, beside)
                work.commit()
                return beside


def inputs_of_version(work: Work, version: Version) -> UpdateInputs:
    """Return the rows that the update of a version depended on, to repeat it.

    They have the suites that were pinned with it. Raises TypeError for a root or a
    conversion, and LearnedErasedImages if an image is gone.
    """
    if version.recipe is None or version.data is None:
        raise TypeError(f"no update has made version {version.number}")
    version.require_clean()
    order = UpdateOrder(
        dataset=version.data.dataset,
        dataset_version=version.data.version,
        recipe=version.recipe,
        parent=version.parent,
        auto_promote=False,
        prompt=version.prompt.text,
        captions=version.captions,
        reference=version.reference,
    )
    line = tuple(ancestors(work, version))
    inputs = _inputs(work, order, pinned_model(work, version.job), line)
    fitted = version.recipe.mixing_choice is MixingChoice.FIT
    share = version.notes.get("mixing") if fitted else None
    return replace(inputs, share=share, repeated=True)


def _inputs(
    work: Work,
    order: UpdateOrder,
    model: Model,
    line: tuple[Version, ...],
    beside: Beside | None = None,
) -> UpdateInputs:
    captions, reference = (
        None if named is None else work[Datasets].version(named.dataset, named.version)
        for named in (order.captions, order.reference)
    )
    return UpdateInputs(
        order=order,
        model=model,
        line=line,
        data=work[Datasets].version(order.dataset, order.dataset_version),
        captions=captions,
        open_classes=open_classes_of(work, model),
        suites=suites_of(work, model),
        lessons=replayed_versions(work, line) if order.recipe.exemplars else (),
        reference=reference,
        beside=beside,
    )


def spec_of(
    platform: Platform, inputs: UpdateInputs, *, without: Collection[Digest] = ()
) -> TrainingSpec:
    """Return the same spec at every claim of a job, whatever has happened to its model in between.

    Only exemplars that have become a suite's are left out from then on. Training images `without`
    which to train are left out as if they had never been in the dataset, and classes that are left
    with none. Raises ImageInSuite when an image of the dataset has become a suite's since the job
    was ordered (of a repeated update, an image to train on); FieldInvalid when no image of the
    reference set, or too few captions to tell apart, are left; and RecipeInvalid when there is
    nothing to choose a mixing weight by.
    """
    artifacts, order = platform.artifacts, inputs.order
    manifest = read_manifest(artifacts, inputs.data.manifest).without(without)
    taught_too = Manifest(kind=DatasetKind.CAPTIONED, entries=())
    if inputs.captions is not None:
        taught_too = read_manifest(artifacts, inputs.captions.manifest).without(without)
    images, captioned = manifest.on(Side.TRAIN), taught_too.on(Side.TRAIN)
    if manifest.kind is DatasetKind.CAPTIONED:
        images, captioned = (), images
    if captioned or inputs.captions is not None:
        require_captions(captioned, order, inputs.parent)  # an erasure may have left too few
    entries = (*manifest.entries, *taught_too.entries)
    taught = {entry.class_name for entry in images}
    lessons = [read_manifest(artifacts, lesson.manifest) for lesson in inputs.lessons]
    reference: tuple[ManifestEntry, ...] = ()
    with platform.transactions(read_only=True) as work:
        own = (*images, *captioned) if inputs.repeated else entries
        refuse_suite_images(work, own)
        exemplars, captioned_exemplars = (
            without_suite_images(work, exemplars_of(lessons, entries, kind))
            for kind in (DatasetKind.LABELLED, DatasetKind.CAPTIONED)
        )
        if inputs.reference is not None:
            shown = read_manifest(artifacts, inputs.reference.manifest)
            reference = reference_entries(work, shown, inputs.parent.prompt)
        selection, fit = None, None
        classes, prompt = inputs.classes, inputs.prompt
        if order.recipe.mixing_choice.is_best:
            suites = inputs.suites
            selection = selection_of(
                work, artifacts, manifest, suites, classes=classes, prompt=prompt
            )
        if inputs.beside is not None:
            fit = plan_to_fit(
                work,
                artifacts,
                inputs.model,
                inputs.line,
                classes=classes,
                prompt=prompt,
                beside=inputs.beside,
            )
    return TrainingSpec(
        parent=inputs.parent.digest,
        root=inputs.line[0].digest,
        recipe=order.recipe,
        classes=tuple(name for name in inputs.data.classes if name in taught),
        learned=inputs.parent.classes,
        open_classes=inputs.open_classes,
        images=images,
        prompt=inputs.prompt,
        captioned=captioned,
        exemplars=exemplars,
        captioned_exemplars=captioned_exemplars,
        reference=reference,
        selection=selection,
        fit=fit,
        share=inputs.share,
        feature_statistics=inputs.parent.feature_statistics,
        captions_before=any(version.taught_captions for version in inputs.line),
    )


# Images that an update may keep as exemplars: those that a line of versions was taught with.


def replayed_versions(work: Work, line: Iterable[Version]) -> tuple[DatasetVersion, ...]:
    """Return the dataset versions that a line was taught with, in its order; roots have none.

    Of those that held erased images, what is left.
    """
    found = (work[Datasets].remaining(one) for version in line for one in version.taught)
    return tuple(one for one in found if one is not None)


def exemplars_of(
    lessons: Sequence[Manifest], own: Iterable[ManifestEntry], kind: DatasetKind
) -> tuple[ManifestEntry, ...]:
    """Return the training sides of earlier updates of a kind, without the `own` images.

    They are in the order of the updates, oldest first. An image that was taught several times
    comes once, as what it was last taught to be.
    """
    found: dict[Digest, ManifestEntry] = {}
    for lesson in (one for one in lessons if one.kind is kind):
        found |= {entry.pixels: entry for entry in lesson.on(Side.TRAIN)}
    for entry in own:
        found.pop(entry.pixels, None)
    return tuple(found.values())


# Precisions that the device has no instructions for.


def warn_if_slow(precision: Precision, native: Collection[Precision], monitor: Monitor) -> None:
    """Add an event if a precision is not `native` to the device. Raises LeaseLost."""
    if precision in native:
        return
    monitor.emit(
        EventKind.SLOW_PRECISION,
        {
            "precision": precision,
            "explanation": (
                f"This worker's device has no {precision} instructions, so each step may take ten "
                "times as long as in fp32. Use precision 'auto' or 'fp32' to avoid this."
            ),
        },
    )
