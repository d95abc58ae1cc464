"""Search by a version in an index of another version's vectors, and store the report."""

from collections.abc import Iterator, Sequence

from core.domain.access.audit import Action
from core.domain.datasets.dataset import DatasetRef
from core.domain.jobs.job import Job
from core.domain.jobs.order import CompareIndexOrder
from core.domain.registry.version import Model, Version
from core.domain.values import canonical_json
from core.domain.vectors.searched_suite import SearchedSuite, require_searchable
from core.domain.vectors.stored_vectors import IndexReport, source_of
from core.errors import ArtifactMissing, ImageErased
from core.ports import Embedder, Monitor, Platform, UnitOfWork
from core.use_cases.access import audit
from core.use_cases.registry.model_suites import pinned_model
from core.use_cases.vectors.index_report import index_report
from core.use_cases.vectors.order_comparison import searched_suites, updates_since


def compare_index(
    platform: Platform, embedder: Embedder, job: Job, order: CompareIndexOrder, monitor: Monitor
) -> None:
    """Compare two versions on the suites pinned with the job, and on holdouts of updates.

    A killed job begins again. Raises what the embedder raises, ArtifactGone, SuitesTooSmall, or
    ImageErased if an image was erased meanwhile.
    """
    with platform.transactions(read_only=True) as work:
        model = pinned_model(work, job.id)
        version = work.versions.get(model.id, order.version)
        baseline = work.versions.get(model.id, order.baseline)
        for one in (version, baseline):
            one.require_weights()
        updates = updates_since(work, version, order)
        suites = searched_suites(platform, work, model, updates)
    require_searchable(suites)
    try:
        found = embedder.compare(baseline.digest, version.digest, suites, monitor)
    except ArtifactMissing:
        with platform.transactions(read_only=True) as work:
            _require_unerased(work, suites)
        raise
    bridge = platform.artifacts.put(found.bridge.file)
    report = index_report(model, version, baseline, found, bridge)
    stored = IndexReport(
        model=model.id,
        version=version.number,
        baseline=baseline.number,
        report=platform.artifacts.put(canonical_json(report)),
        bridge=bridge,
        sources=(*model.suites, *_datasets_of(updates)),
        job=job.id,
        created_at=platform.clock(),
    )
    result = {name: report[name] for name in ("version", "from", "verdict", "reason")}
    _commit(platform, job, model, version, suites, stored, result)


def _commit(
    platform: Platform,
    job: Job,
    model: Model,
    version: Version,
    suites: tuple[SearchedSuite, ...],
    stored: IndexReport,
    result: dict[str, object],
) -> None:
    """Record the report, unless an image or the version's weights are gone."""
    now = platform.clock()
    with platform.transactions() as work:
        work.models.lock_all()  # as an erasure does, before versions; orders of jobs do not wait
        _require_unerased(work, suites)
        work.versions.get(model.id, version.number, lock=True).require_weights()
        work.index_reports.put(stored)
        audit.record(
            work,
            Action.INDEX_COMPARED,
            f"models/{model.name}/versions/{version.number}/compatibility/{stored.baseline}",
            now=now,
            after={"verdict": result["verdict"], "bridge": stored.bridge},
            actor=f"job {job.id}",
        )
        work.jobs.finish(job.succeed(result, now), job.fence)
        work.commit()


def _datasets_of(updates: Sequence[Version]) -> Iterator[str]:
    for update in updates:
        if update.dataset is not None and update.dataset_version is not None:
            yield source_of(DatasetRef(dataset=update.dataset, version=update.dataset_version))


def _require_unerased(work: UnitOfWork, suites: tuple[SearchedSuite, ...]) -> None:
    parts = [part for suite in suites for part in (suite.validation, suite.test) if part]
    if erased := work.erasures.erased({entry.pixels for part in parts for entry in part.entries}):
        raise ImageErased(
            "An image was erased while versions were compared by it: order the report again.",
            pixels=sorted(erased)[:20],
        )
