"""Erase images: from drafts and dataset versions, from the store, and from what may be promoted."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import compress

from core.artifacts.store import ArtifactKind, Artifacts
from core.audit import record as audit
from core.audit.rules import Action
from core.database.work import Work
from core.datasets.freeze import write_version
from core.datasets.labels import SuiteLabels
from core.datasets.manifests import Manifest, Part
from core.datasets.rows import Datasets, ErasedImages
from core.datasets.rules import NOTHING_LEFT, Dataset, DatasetRef
from core.datasets.thumbnail_rows import Thumbnails
from core.erasure.derived import Derived, read_derived
from core.erasure.holders import EVERY, NONE, Holders, is_current, search
from core.erasure.retrain import order_retraining
from core.erasure.rows import Erasures
from core.erasure.rules import (
    Erasure,
    Exposure,
    Findings,
    MarkedVersion,
    RemadeVersion,
    marked_by_digest,
)
from core.errors import CancelRequested, DatasetNotFound
from core.evaluation.answers import ClassAnswers, answers_from_json, answers_to_json, views_to_json
from core.evaluation.exams import entries_in
from core.evaluation.fitting import validated_by
from core.evaluation.holdouts import holdout_query
from core.evaluation.queries import ClassQuery, list_of_images, views_of
from core.evaluation.rows import AnswerCache
from core.evaluation.stored_answers import with_views
from core.jobs.orders import EraseOrder
from core.jobs.rows import Jobs
from core.jobs.rules import Job, JobStatus, Monitor
from core.platform import Platform
from core.registry.marks import Marks
from core.registry.read import added_images, holdout_of, read_added, read_json
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import Version, VersionStatus
from core.trials.rows import Trials, TrialSamples
from core.trials.rules import Sample, TrialEnd
from core.trials.run import end_running_trial
from core.upkeep.rows import ArtifactRoots
from core.values import Digest, canonical_json
from core.vectors.rows import IndexReports, Vectors
from core.vectors.rules import source_of


def erase_images(platform: Platform, job: Job, order: EraseOrder, monitor: Monitor) -> None:
    """Carry out an erasure; a resumed job goes on from where the last one was.

    One transaction makes the images unreadable, marks versions and queues the updates that replace
    them. Only then are bytes deleted, which may be repeated.
    """
    with platform.transactions(read_only=True) as work:
        erasure = work[Erasures].get(order.erasure)
    if erasure.erased_at is None:
        erasure = _erase_rows(platform, job, erasure, monitor)
    with platform.transactions(read_only=True) as work:
        archives = set(erasure.findings.archives) - work[ArtifactRoots].archives()
        vectors = set(erasure.findings.vectors) - work[ArtifactRoots].named(ArtifactKind.VECTORS)
        derived = set(erasure.findings.derived) & work[ArtifactRoots].derived()
    held = [*erasure.findings.artifacts.values(), archives, vectors, derived]
    forms = sorted({form for forms in held for form in forms})
    for done, form in enumerate(forms):
        monitor.advance("deleting", done, len(forms))
        platform.artifacts.delete(form)
    result = {
        "erasure": erasure.id,
        "images": len(erasure.images),
        "versions": len(erasure.findings.versions),
        "retrained": sum(version.retrained for version in erasure.findings.versions),
    }
    with platform.transactions() as work:
        work[Jobs].finish(job.succeed(result, platform.clock()), job.fence)
        work.commit()


def _erase_rows(platform: Platform, job: Job, erasure: Erasure, monitor: Monitor) -> Erasure:
    """Search without a lock, and again if something has changed by the time that all is locked."""
    pixels, holders, derived = set(erasure.images), NONE, Derived()
    while True:
        holders = search(platform, pixels, holders, monitor)
        left = store_remaining_manifests(platform.artifacts, holders, pixels)
        carried = carry_answers(platform, holders, pixels)
        derived = read_derived(platform, pixels, derived)
        now = platform.clock()
        with platform.transactions() as work:
            work[Jobs].status(job.id, job.fence)
            if not (_lock(work, holders, pixels) and derived.is_current(work)):
                continue
            found = work[Erasures].get(erasure.id)
            if found.erased_at is not None:  # by a worker that has lost the job since
                return found
            drafts = sorted(work[Datasets].holding(pixels))
            vectors = work[Vectors].remove_of(holders.versions)
            sources = {*holders.suites, *map(source_of, holders.versions)}
            vectors |= work[IndexReports].remove_of(sources)
            samples = work[TrialSamples].holding(pixels)
            findings = Findings(
                artifacts=_forms(work, erasure, holders, samples),
                archives=tuple(sorted(work[ArtifactRoots].spent_archives())),
                drafts=tuple(work[Datasets].get(dataset).name for dataset in drafts),
                datasets=tuple(remake(work, holders, left, now)),
                suites=tuple(sorted({suite.name for suite, _ in holders.suites.values()})),
                near_duplicates=tuple(sorted(work[Datasets].near_duplicates(pixels))),
                vectors=tuple(sorted(vectors)),
                trials=tuple(sorted({one.trial for one in samples})),
            )
            work[Datasets].erase(pixels)
            work[TrialSamples].erase(pixels)
            work[SuiteLabels].erase(pixels)
            statistics: set[Digest] = set()
            versions = tuple(_mark_all(work, erasure, holders, statistics, now))
            made = tuple(sorted(derived.erase(work) | statistics))
            for one in carried:
                work[AnswerCache].add(one.version, one.query, one.answers, one.images)
            findings = replace(findings, versions=versions, derived=made)
            erasure = replace(erasure, erased_at=now, findings=findings)
            work[Erasures].save(erasure)
            audit.record(
                work,
                Action.IMAGES_ERASED,
                f"erasures/{erasure.id}",
                now=now,
                after={"images": list(erasure.images), "versions": len(versions)},
                reason=erasure.reason,
                actor=erasure.actor,
            )
            if work[Jobs].status(job.id, job.fence, lock=True) is JobStatus.CANCELLING:
                raise CancelRequested  # from now on it would be refused
            work.commit()
        return erasure


def _lock(work: Work, holders: Holders, pixels: Collection[Digest]) -> bool:
    """Keep others from changing what holds the images; return whether all of it is known.

    Thumbnails come first, as with whoever adds images, and then nobody adds these to a dataset or
    keeps them as samples of a trial.
    Models are locked after datasets, as whoever orders or makes a version does.
    """
    work[Thumbnails].lock()
    held = {ref.dataset for ref in holders.versions} | work[Datasets].holding(pixels)
    with suppress(DatasetNotFound):
        for dataset in sorted(held):
            work[Datasets].lock(dataset)
        work[Models].lock_all()
        return is_current(work, holders)
    return False


def _forms(
    work: Work, erasure: Erasure, holders: Holders, samples: Collection[Sample]
) -> dict[Digest, tuple[Digest, ...]]:
    """Return all stored forms of the images: a new release may have stored one anew."""
    newest = work[ErasedImages].forms(erasure.images)
    pairs = holders.forms | set(newest.items())
    pairs |= {(one.pixels, one.artifact) for one in samples}
    return {
        pixels: tuple(sorted(form for one, form in pairs if one == pixels))
        for pixels in erasure.images
    }


def _mark_all(
    work: Work, erasure: Erasure, holders: Holders, statistics: set[Digest], now: datetime
) -> Iterator[MarkedVersion]:
    """Mark versions; add the feature statistics that they lose to `statistics`."""
    models = work[Models].lock_all()
    every, digests = marked_by_digest(
        {model.id: work[Versions].all(model.id) for model in models},
        lambda version: _learned(work, holders, version),
        holders.learned_from,
    )
    work[Marks].add(digests, erasure.id)
    for model in models:
        versions = {version.number: version for version in work[Versions].all(model.id)}
        found = every[model.id]
        ordered = order_retraining(work, erasure, model, [*versions.values()], found, now)
        for number, learned in sorted(found.items()):
            work[Versions].mark(model.id, number, erasure.id)
            statistics.update(versions[number].feature_statistics.values())
            obstacle = ordered.get(number, "")
            yield MarkedVersion(
                model=model.id,
                name=model.name,
                number=number,
                digest=versions[number].digest,
                learned=learned,
                retrained=obstacle is None,
                obstacle=obstacle or None,
            )
            audit.record(
                work,
                Action.VERSION_MARKED,
                f"models/{model.name}/versions/{number}",
                now=now,
                after={"erasure": erasure.id, "learned": learned.value},
                actor=erasure.actor,
            )
        for trial in work[Trials].running(model.id):
            if trial.candidate in found:
                end = TrialEnd.ERASED
                end_running_trial(work, model, trial.alias, end, actor=erasure.actor, now=now)


def _learned(work: Work, holders: Holders, version: Version) -> Exposure | None:
    """Return how a version itself learned from one of the images, if it did."""
    taught = [holders.versions.get(one) for one in version.taught]
    distilled = None
    if version.reference is not None:
        distilled = holders.versions.get(version.reference)
    if any(one and one.teaches for one in taught):
        return Exposure.TAUGHT
    if distilled and distilled.teaches:
        return Exposure.DISTILLED
    held_out = {ref for ref, one in holders.versions.items() if one.holds_out(Part.VALIDATION)}
    validating = held_out | holders.validating
    if validating and not validating.isdisjoint(validated_by(work, version)):
        return Exposure.CHOSEN
    return None


# Keep what versions answered about holdouts, when images of these are erased.
#
# A holdout without an image is another query. The version that learned it and the settled one,
# which went live, may have no weights any more to answer that with, and every later update of the
# line has to be scored beside them.


@dataclass(frozen=True, kw_only=True)
class CarriedAnswers:
    """A version's stored answers to what is left of a holdout."""

    version: Digest
    query: Digest
    answers: Digest
    images: Digest


def carry_answers(
    platform: Platform, holders: Holders, pixels: Collection[Digest]
) -> list[CarriedAnswers]:
    """Store what versions answered about the images that are left of holdouts."""
    with platform.transactions(read_only=True) as work:
        found = [
            (
                version,
                query,
                work[AnswerCache].find(version.digest, query.digest),
                work[AnswerCache].find(version.digest, views_of(query.digest)),
            )
            for version, query in _holdout_queries(work, platform.artifacts, holders)
        ]
    return [
        carried
        for version, query, stored, views in found
        for carried in _carry(platform.artifacts, version, query, stored, views, pixels)
    ]


def _holdout_queries(
    work: Work, artifacts: Artifacts, holders: Holders
) -> Iterator[tuple[Version, ClassQuery]]:
    """Yield queries of holdouts with one of the images: of the learner, and of what went live.

    They are those about the images that the update held out, and those with what was added. Of
    captions there are none: without an image of the gallery, every rank may be another one.
    """
    for model in work[Models].page(EVERY, None):
        versions = work[Versions].all(model.id)
        live = [version for version in versions if version.status is VersionStatus.PROMOTED]
        added = added_images(work, model.id)
        for learner in versions:
            holder = holders.versions.get(learner.classed_data) if learner.classed_data else None
            held = holder is not None and holder.holds_out(Part.TEST)
            more = added.get(learner.number)
            if held or (more is not None and more.id in holders.suites):
                at_first = holdout_of(work, artifacts, learner)
                whole = (*at_first, *read_added(work, artifacts, added, learner))
                for images in {at_first, whole}:
                    query = holdout_query(learner, entries_in(Part.TEST, images))
                    for version in {one.number: one for one in (learner, *live)}.values():
                        yield version, query


def _carry(
    artifacts: Artifacts,
    version: Version,
    query: ClassQuery,
    stored: Digest | None,
    stored_views: Digest | None,
    pixels: Collection[Digest],
) -> Iterator[CarriedAnswers]:
    """Yield the answers to what is left, and those to its views, if they can be read."""
    found = read_json(artifacts, stored)  # without it, they count for nothing as it is
    answers = with_views(artifacts, answers_from_json(found), stored_views) if found else None
    if not isinstance(answers, ClassAnswers):
        return
    is_left = [entry.pixels not in pixels for entry in query.entries]
    if not any(is_left):
        return
    rest = replace(query, entries=tuple(compress(query.entries, is_left)))
    kept, *views = (tuple(compress(a, is_left)) for a in (answers.predicted, *answers.views))
    carried = {rest.digest: answers_to_json(ClassAnswers(predicted=kept))}
    if views:
        carried[views_of(rest.digest)] = views_to_json(views)
    for digest, value in carried.items():
        yield CarriedAnswers(
            version=version.digest,
            query=digest,
            answers=artifacts.put(canonical_json(value)),
            images=artifacts.put(list_of_images(rest)),
        )


# Freeze again the dataset versions that held erased images, without these.


@dataclass(frozen=True, kw_only=True)
class StoredManifest:
    """The stored manifest of what is left of a dataset version; maybe without any image."""

    digest: Digest
    manifest: Manifest


def store_remaining_manifests(
    artifacts: Artifacts, holders: Holders, pixels: Collection[Digest]
) -> Mapping[DatasetRef, StoredManifest]:
    """Store the manifests of what is left of dataset versions, before the rows that name them.

    Those of many images are long, so nothing is locked meanwhile.
    """
    left: dict[DatasetRef, StoredManifest] = {}
    for ref, one in holders.versions.items():
        if one.version.replaced_by is None:
            manifest = one.manifest.without(pixels)
            left[ref] = StoredManifest(digest=artifacts.put(manifest.to_bytes()), manifest=manifest)
    return left


def remake(
    work: Work,
    holders: Holders,
    left: Mapping[DatasetRef, StoredManifest],
    now: datetime,
) -> list[RemadeVersion]:
    """Write a version without the erased images for each locked one that holds some.

    One that was replaced before stays so: what replaces it is replaced in turn.
    """
    made: list[RemadeVersion] = []
    for ref in sorted(holders.versions, key=lambda ref: (ref.dataset, ref.version)):
        holder = holders.versions[ref]
        by = holder.version.replaced_by
        if by is None:
            by = _write(work, holder.dataset, left[ref], now)
            work[Datasets].replace_version(ref.dataset, ref.version, by)
        made.append(
            RemadeVersion(
                dataset=ref.dataset,
                name=holder.dataset.name,
                number=ref.version,
                removed=len(holder.held),
                replaced_by=by,
            )
        )
    return made


def _write(work: Work, dataset: Dataset, left: StoredManifest, now: datetime) -> int:
    if not left.manifest.entries:
        return NOTHING_LEFT
    number = work[Datasets].next_version(dataset.id)
    write_version(work, dataset, left.manifest, left.digest, number, now)
    return number
