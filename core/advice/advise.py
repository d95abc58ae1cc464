"""Advise on an update before it is ordered."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import replace

from core.advice.findings import (
    Finding,
    Recognition,
    image_findings,
    images_per_class,
    name_findings,
    overall,
    recognitions,
    sample,
    zero_shot_findings,
    zero_shot_unknown,
)
from core.advice.rules import (
    Advice,
    ClassAdvice,
    GuardingSet,
    PastUpdate,
    duration_finding,
    expected_duration,
    gain_finding,
    guard_findings,
    recipe_findings,
    workload,
)
from core.artifacts.store import Artifacts
from core.database.work import Work
from core.datasets.freeze import read_manifest, without_suite_images
from core.datasets.manifests import Manifest, ManifestEntry, Part, Side
from core.datasets.rows import Datasets
from core.datasets.rules import DatasetKind, Suite, SuiteKind
from core.datasets.thumbnail_rows import Splits
from core.errors import DatasetVersionNotFound, PerennialError, VersionNotFound
from core.evaluation.exams import entries_in
from core.evaluation.holdouts import captions_name
from core.gate.kinds import MeasureKind
from core.gate.rows import Policies
from core.images.decoder import Decoder
from core.inference.classify import ClassificationRequest, Classifier
from core.inference.wire import MAX_IMAGES
from core.jobs.orders import JobType, UpdateOrder
from core.jobs.rows import Jobs
from core.jobs.rules import Job, JobStatus
from core.platform import Platform
from core.recipes.fields import PromptTemplate, exemplars_by_kind, kept_exemplars
from core.recipes.rules import class_texts, distinct
from core.registry.read import (
    ImageInputs,
    ancestors,
    captions_held_out_of,
    grown_holdouts_of,
    read_json,
    suites_of,
)
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version
from core.training.order import preflight_order, present_parent, replayed_features
from core.training.update_model import exemplars_of, replayed_versions


def advise(
    platform: Platform,
    classifier: Classifier,
    decoder: Decoder,
    *,
    model: str,
    order: UpdateOrder,
) -> Advice:
    """Return what to consider before an update is ordered; nothing is queued or written.

    Raises ModelNotFound, and what `preflight_order` raises, except that a learning rate which must
    be forced is a finding. Without inference, the advice has everything but the parent's accuracy.
    """
    artifacts = platform.artifacts
    with platform.transactions() as work:  # it may lock, as an order does, and is rolled back
        found = work[Models].get(model)
        order = preflight_order(platform, work, found, replace(order, force=True))
        parent = present_parent(work, found.id, order)
    with platform.transactions(read_only=True) as work:
        data = work[Datasets].version(order.dataset, order.dataset_version)
        policy = work[Policies].get(found.policy)
        suites = suites_of(work, found)
        line = (*ancestors(work, parent), parent) if parent else ()
        past = list(past_updates(work, found))
        manifest = read_manifest(artifacts, data.manifest)
        learned = parent.classes if parent else ()
        taught_names = {name.lower() for name in (*learned, *manifest.classes)}
        guarding = list(_guarding_sets(work, artifacts, line, suites, taught_names))
        tested = entries_in(Part.TEST, manifest.drawn_holdout(work[Splits].get()))
        beside = _captions_beside(work, artifacts, order)
        entries = (*manifest.entries, *beside.entries)
        lessons = replayed_versions(work, line) if order.recipe.exemplars else ()
        taught = [read_manifest(artifacts, one.manifest) for one in lessons]
        classed, captioned = (
            without_suite_images(work, exemplars_of(taught, entries, kind))
            for kind in (DatasetKind.LABELLED, DatasetKind.CAPTIONED)
        )
        candidates = Counter(entry.class_name.lower() for entry in classed)
    recognised: Mapping[str, Recognition] = {}
    asked: Sequence[Finding] = ()  # of captions, the parent's R@1 is known when they are scored
    if manifest.kind is DatasetKind.LABELLED:
        recognised, asked = ask_parent(
            artifacts, classifier, decoder, parent, manifest=manifest, prompt=order.prompt
        )
    classes = images_per_class(manifest, tested)
    train = len(manifest.on(Side.TRAIN)) + len(beside.on(Side.TRAIN))
    recipe = order.recipe
    of_classes, of_captions = exemplars_by_kind(
        recipe.exemplars_of(len(classed) + len(captioned)), len(classed), len(captioned)
    )
    kept = kept_exemplars(of_classes, candidates.values()) + of_captions
    replayed = replayed_features(recipe, parent, train, len(classes))
    load = workload(recipe, train, exemplars=replayed + (kept if recipe.exemplars else 0))
    captions = manifest.kind is DatasetKind.CAPTIONED
    comparable = () if beside.entries else past  # no time of an update of both is known
    duration = expected_duration(comparable, recipe, load.images, captions=captions)
    known = overall(recognised) if recognised else None
    return Advice(
        model=found,
        order=order,
        parent=parent.number if parent else None,
        classes=tuple(
            ClassAdvice(images=row, recognised=recognised.get(row.name)) for row in classes
        ),
        steps=load.steps,
        seconds=duration.seconds if duration else None,
        findings=(
            *image_findings(manifest, classes, test=len(tested)),
            *name_findings(
                manifest.classes,
                learned=learned,
                suites={suite.name: suite.classes for suite in suites},
            ),
            *asked,
            gain_finding(len(tested), known, policy, lost_by(artifacts, parent)),
            *guard_findings(guarding, policy),
            *recipe_findings(found.default_recipe, recipe),
            duration_finding(load.steps, recipe, duration),
        ),
    )


def _captions_beside(work: Work, artifacts: Artifacts, order: UpdateOrder) -> Manifest:
    """Return the captions that an order names beside its dataset; maybe without any."""
    if order.captions is None:
        return Manifest(kind=DatasetKind.CAPTIONED, entries=())
    found = work[Datasets].version(order.captions.dataset, order.captions.version)
    return read_manifest(artifacts, found.manifest)


def lost_by(artifacts: Artifacts, version: Version | None) -> float:
    """Return the share of right answers that a version's update lost on its own holdout.

    It is 0 without a report that can be read.
    """
    report = read_json(artifacts, version.report if version else None) or {}
    for measure in report.get("measures", ()):
        if measure["kind"] == MeasureKind.GAIN and measure["right_before"]:
            return float(measure["lost"] / measure["right_before"])
    return 0.0


def _guarding_sets(
    work: Work,
    artifacts: Artifacts,
    line: Sequence[Version],
    suites: Sequence[Suite],
    taught: Set[str],
) -> Iterator[GuardingSet]:
    """Yield what the candidate is compared on besides its own holdout; near-duplicates are one.

    `taught` are the names in lower case of the classes that it will have learned.
    """
    for suite in suites:
        tested = entries_in(Part.TEST, read_manifest(artifacts, suite.manifest).entries)
        labelled = suite.kind is SuiteKind.ZERO_SHOT
        known = {e.group for e in tested if labelled and e.class_name.lower() in taught}
        distinct = {entry.group for entry in tested}
        untaught = len(distinct - known)
        yield GuardingSet(name=f"suite {suite.name}", test=len(distinct), untaught=untaught)
    holdouts = {}
    grown = grown_holdouts_of(work, artifacts, line)
    captioned = captions_held_out_of(work, artifacts, line)
    for version, held_out, captions in zip(line, grown, captioned, strict=True):
        if captions:
            groups = {entry.group for entry in entries_in(Part.TEST, captions)}
            yield GuardingSet(name=f"holdout of {captions_name(version)}", test=len(groups))
        images = {entry.group for entry in entries_in(Part.TEST, held_out)}
        if held_out:
            yield GuardingSet(name=f"holdout of version {version.number}", test=len(images))
            holdouts[version.number] = images
    if len(holdouts) > 1:
        together = set().union(*holdouts.values())
        yield GuardingSet(name=f"holdouts of {len(holdouts)} updates", test=len(together))


# What the parent of an update says about a sample of its images.


def ask_parent(
    artifacts: Artifacts,
    classifier: Classifier,
    decoder: Decoder,
    parent: Version | None,
    *,
    manifest: Manifest,
    prompt: str | None,
) -> tuple[Mapping[str, Recognition], Sequence[Finding]]:
    """Return what the parent recognises by class, and what follows from that.

    As for the verdict, all classes compete that the line will have learned. If the parent cannot
    be asked, the only finding is the reason.
    """
    if parent is None:
        return {}, [zero_shot_unknown("The model's root is still being imported.")]
    classes = distinct((*parent.classes, *manifest.classes))
    template = PromptTemplate(prompt) if prompt else parent.prompt
    entries = sample(manifest)
    try:
        request = ClassificationRequest(
            version=parent,
            input=ImageInputs(artifacts).of(parent.digest),
            texts=class_texts(classes, template),
        )

        def pixels(entry: ManifestEntry) -> bytes:
            return decoder.pixels(artifacts.get(entry.artifact), request.input)

        answers = list(_answers(classifier, request, pixels, entries))
    except PerennialError as refusal:  # the rest of the advice does not depend on it
        return {}, [zero_shot_unknown(refusal.message)]
    recognised = recognitions(entries, answers)
    return recognised, list(zero_shot_findings(recognised, competing=len(classes)))


def _answers(
    classifier: Classifier,
    request: ClassificationRequest,
    pixels: Callable[[ManifestEntry], bytes],
    entries: Sequence[ManifestEntry],
) -> Iterator[str]:
    """Yield the most probable class of each image; a few images at a time are in memory."""
    for start in range(0, len(entries), MAX_IMAGES):
        part = entries[start : start + MAX_IMAGES]
        for [best] in classifier.classify(request, list(map(pixels, part)), top_k=1):
            yield best["class"]


# How long earlier updates of the model took.

_MOST = 10


def past_updates(work: Work, model: Model) -> Iterator[PastUpdate]:
    """Yield the newest updates of a model that ended without being interrupted, newest first."""
    ended = work[Jobs].page(
        _MOST, None, model=model.id, job_type=JobType.UPDATE, status=JobStatus.SUCCEEDED
    )
    for job in ended:
        with suppress(VersionNotFound, DatasetVersionNotFound):  # deleted since
            if past := _past_update(work, model, job):
                yield past


def _past_update(work: Work, model: Model, job: Job) -> PastUpdate | None:
    if not isinstance(job.order, UpdateOrder) or job.version is None or job.attempt != 1:
        return None
    if job.started_at is None or job.finished_at is None:
        return None
    made = work[Versions].get(model.id, job.version)
    if made.taught_captions and made.update_classes:
        return None
    training_s = (made.created_at - job.started_at).total_seconds()
    if training_s <= 0:
        return None
    data = work[Datasets].version(job.order.dataset, job.order.dataset_version)
    return PastUpdate(
        part=job.order.recipe.part,
        mixing_choice=job.order.recipe.mixing_choice,
        device=made.environment.get("device", "an unknown device"),
        captions=made.taught_captions,
        images=workload(
            job.order.recipe,
            data.training_images,
            exemplars=made.notes.get("exemplars", 0) + made.notes.get("features", 0),
        ).images,
        training_s=training_s,
        scoring_s=(job.finished_at - made.created_at).total_seconds(),
    )
