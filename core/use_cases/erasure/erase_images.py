"""Erase images: from drafts and dataset versions, from the store, and from what may be promoted."""

from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from core.domain.access.audit import Action
from core.domain.datasets.dataset import DatasetRef
from core.domain.erasure.erasure import Erasure, Exposure, Findings, MarkedVersion
from core.domain.erasure.marking import marked
from core.domain.jobs.job import Job
from core.domain.jobs.order import EraseOrder
from core.domain.registry.version import Model, Version
from core.domain.trials.sample import Sample
from core.domain.trials.trial import TrialEnd
from core.domain.values import Digest
from core.domain.vectors.stored_vectors import source_of
from core.errors import DatasetNotFound
from core.ports import Monitor, Platform, UnitOfWork
from core.use_cases.access import audit
from core.use_cases.erasure.carry_answers import carry_answers
from core.use_cases.erasure.holders import NONE, Holders, is_current, search
from core.use_cases.erasure.remake import remake, store_remaining_manifests
from core.use_cases.erasure.retrain import order_retraining
from core.use_cases.trials.end_trial import end_trial


def erase_images(platform: Platform, job: Job, order: EraseOrder, monitor: Monitor) -> None:
    """Carry out an erasure; a resumed job goes on from where the last one was.

    One transaction makes the images unreadable, marks versions and queues the updates that replace
    them. Only then are bytes deleted, which may be repeated.
    """
    with platform.transactions(read_only=True) as work:
        erasure = work.erasures.get(order.erasure)
    if erasure.erased_at is None:
        erasure = _erase_rows(platform, job, erasure, monitor)
    with platform.transactions(read_only=True) as work:
        archives = set(erasure.findings.archives) - work.references.archives()
        vectors = set(erasure.findings.vectors) - work.references.vectors()
    held = [*erasure.findings.artifacts.values(), archives, vectors]
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
        work.jobs.finish(job.succeed(result, platform.clock()), job.fence)
        work.commit()


def _erase_rows(platform: Platform, job: Job, erasure: Erasure, monitor: Monitor) -> Erasure:
    """Search without a lock, and again if something has changed by the time that all is locked."""
    pixels, holders = set(erasure.images), NONE
    while True:
        holders = search(platform, pixels, holders, monitor)
        left = store_remaining_manifests(platform.artifacts, holders, pixels)
        carried = carry_answers(platform, holders, pixels)
        now = platform.clock()
        with platform.transactions() as work:
            work.jobs.status(job.id, job.fence)
            if not _lock(work, holders, pixels):
                continue
            found = work.erasures.get(erasure.id)
            if found.erased_at is not None:  # by a worker that has lost the job since
                return found
            drafts = sorted(work.datasets.holding(pixels))
            vectors = work.vectors.remove_of(holders.versions)
            sources = {*holders.suites, *map(source_of, holders.versions)}
            vectors |= work.index_reports.remove_of(sources)
            samples = work.samples.holding(pixels)
            findings = Findings(
                artifacts=_forms(work, erasure, holders, samples),
                archives=tuple(sorted(work.references.spent_archives())),
                drafts=tuple(work.datasets.get(dataset).name for dataset in drafts),
                datasets=tuple(remake(work, holders, left, now)),
                suites=tuple(sorted(suite.name for suite, _ in holders.suites.values())),
                near_duplicates=tuple(sorted(work.datasets.near_duplicates(pixels))),
                vectors=tuple(sorted(vectors)),
                trials=tuple(sorted({one.trial for one in samples})),
            )
            work.datasets.erase(pixels)
            work.samples.erase(pixels)
            for one in carried:
                work.answers.add(one.version, one.query, one.answers)
            versions = tuple(_mark_all(work, erasure, holders, now))
            erasure = replace(erasure, erased_at=now, findings=replace(findings, versions=versions))
            work.erasures.save(erasure)
            _record(work, erasure, now)
            work.commit()
        return erasure


def _lock(work: UnitOfWork, holders: Holders, pixels: Collection[Digest]) -> bool:
    """Keep others from changing what holds the images; return whether all of it is known.

    Thumbnails come first, as with whoever adds images, and then nobody adds these to a dataset or
    keeps them as samples of a trial.
    Models are locked after datasets, as whoever orders or makes a version does.
    """
    work.thumbnails.lock()
    held = {ref.dataset for ref in holders.versions} | work.datasets.holding(pixels)
    with suppress(DatasetNotFound):
        for dataset in sorted(held):
            work.datasets.lock(dataset)
        work.models.lock_all()
        return is_current(work, holders)
    return False


def _forms(
    work: UnitOfWork, erasure: Erasure, holders: Holders, samples: Collection[Sample]
) -> dict[Digest, tuple[Digest, ...]]:
    """Return all stored forms of the images: a new release may have stored one anew."""
    newest = work.erasures.forms(erasure.images)
    pairs = holders.forms | set(newest.items())
    pairs |= {(one.pixels, one.artifact) for one in samples}
    return {
        pixels: tuple(sorted(form for one, form in pairs if one == pixels))
        for pixels in erasure.images
    }


def _mark_all(
    work: UnitOfWork, erasure: Erasure, holders: Holders, now: datetime
) -> Iterator[MarkedVersion]:
    for model in work.models.lock_all():
        versions = {version.number: version for version in work.versions.all(model.id)}
        found = marked(versions.values(), lambda version: _learned(work, holders, version))
        ordered = order_retraining(work, erasure, model, [*versions.values()], found, now)
        for number, learned in sorted(found.items()):
            work.versions.mark(model.id, number, erasure.id)
            obstacle = ordered.get(number, "")
            yield _marked(model, versions[number], learned, obstacle)
            audit.record(
                work,
                Action.VERSION_MARKED,
                f"models/{model.name}/versions/{number}",
                now=now,
                after={"erasure": erasure.id, "learned": learned.value},
                actor=erasure.actor,
            )
        for trial in work.trials.running(model.id):
            if trial.candidate in found:
                end = TrialEnd.ERASED
                end_trial(work, model, trial.alias, end, actor=erasure.actor, now=now)


def _marked(
    model: Model, version: Version, learned: Exposure, obstacle: str | None
) -> MarkedVersion:
    return MarkedVersion(
        model=model.id,
        name=model.name,
        number=version.number,
        digest=version.digest,
        learned=learned,
        retrained=obstacle is None,
        obstacle=obstacle or None,
    )


def _learned(work: UnitOfWork, holders: Holders, version: Version) -> Exposure | None:
    """Return how a version itself learned from one of the images, if it did."""
    taught = distilled = None
    if version.dataset is not None and version.dataset_version is not None:
        own = DatasetRef(dataset=version.dataset, version=version.dataset_version)
        taught = holders.versions.get(own)
    if version.reference is not None:
        distilled = holders.versions.get(version.reference)
    if taught and taught.teaches:
        return Exposure.TAUGHT
    if distilled and distilled.teaches:
        return Exposure.DISTILLED
    if version.recipe is not None and version.recipe.mixing_choice.uses_validation:
        suites = work.jobs.get(version.job).suites or ()
        if (taught and taught.validates) or not holders.validating.isdisjoint(suites):
            return Exposure.CHOSEN
    return None


def _record(work: UnitOfWork, erasure: Erasure, now: datetime) -> None:
    audit.record(
        work,
        Action.IMAGES_ERASED,
        f"erasures/{erasure.id}",
        now=now,
        after={"images": list(erasure.images), "versions": len(erasure.findings.versions)},
        reason=erasure.reason,
        actor=erasure.actor,
    )
