"""Order a comparison with an index of another version's vectors, and make its report."""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from core.audit import record as audit
from core.audit.rules import Action
from core.database.work import Work
from core.datasets.freeze import read_remaining, require_unerased
from core.datasets.manifests import ManifestEntry, Part
from core.errors import ArtifactMissing, FieldInvalid
from core.evaluation.exams import ScoredSuite, entries_in, suite_query
from core.evaluation.holdouts import captions_name, holdout_name, holdout_query
from core.evaluation.queries import EvalQuery, RetrievalQuery
from core.evaluation.read_plan import pinned_model
from core.jobs.orders import CompareIndexOrder, JobType
from core.jobs.queue import JobRequest, order_for_model
from core.jobs.rows import Jobs
from core.jobs.rules import Job, JobNotifier, Monitor
from core.platform import Platform
from core.registry.read import ancestors, captions_held_out_of, holdouts_of, suites_of
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version
from core.values import Digest, Json, canonical_json
from core.vectors.embedder import Embedder, IndexComparison
from core.vectors.reembed import vectors_lane
from core.vectors.rows import IndexReports
from core.vectors.rules import (
    DEPTH,
    LEAST_QUERIES,
    TOLERANCE,
    EmbeddingMap,
    IndexReport,
    Loss,
    SearchedSuite,
    SearchMeasure,
    judge_index,
    measure_search,
    require_searchable,
    source_of,
)


def order_comparison(
    platform: Platform,
    notifier: JobNotifier,
    request: JobRequest,
    *,
    model: str,
    version: int,
    baseline: int | None = None,
) -> Job:
    """Order a comparison with an index of a baseline's vectors, by default the parent's.

    Raises what `preflight_comparison` raises, ModelNotFound or TooManyJobs.
    """

    def prepare(work: Work, found: Model) -> CompareIndexOrder:
        parent = work[Versions].get(found.id, version).parent
        named = parent if baseline is None else baseline
        if named is None or named == version:
            raise FieldInvalid(
                "A version is compared with another one: name the version whose vectors are in "
                "the index.",
                pointer="/from",
            )
        order = CompareIndexOrder(version=version, baseline=named)
        preflight_comparison(platform, work, found, order)
        return order

    return order_for_model(
        platform,
        notifier,
        request,
        JobType.COMPARE_INDEX,
        prepare,
        model=model,
        lane=vectors_lane,
    )


def preflight_comparison(
    platform: Platform, work: Work, model: Model, order: CompareIndexOrder
) -> None:
    """Raise an error unless two versions can be compared, and keep their weights.

    That is VersionNotFound, ArtifactGone or SuitesTooSmall.
    """
    for number in sorted({order.version, order.baseline}):
        work[Versions].get(model.id, number, lock=True).require_weights()
    version = work[Versions].get(model.id, order.version)
    require_searchable(searched_suites(platform, work, model, updates_since(work, version, order)))


def updates_since(work: Work, version: Version, order: CompareIndexOrder) -> tuple[Version, ...]:
    """Return the updates that lead from the baseline to a version; of a cousin, all of its line."""
    line = [*ancestors(work, version), version]
    numbers = [one.number for one in line]
    after = numbers.index(order.baseline) if order.baseline in numbers else 0
    return tuple(line[after + 1 :])


def searched_suites(
    platform: Platform, work: Work, model: Model, updates: Sequence[Version]
) -> tuple[SearchedSuite, ...]:
    """Return the images of a model's suites and of updates' holdouts, without erased ones."""
    found = []
    for suite in suites_of(work, model):
        manifest = read_remaining(work, platform.artifacts, suite.manifest)
        scored = ScoredSuite(suite=suite, manifest=manifest)
        found.append(
            SearchedSuite(
                name=suite.name,
                validation=suite_query(scored, Part.VALIDATION),
                test=suite_query(scored, Part.TEST),
            )
        )
    artifacts = platform.artifacts
    held_out = holdouts_of(work, artifacts, updates)
    captioned = captions_held_out_of(work, artifacts, updates)
    for update, holdout, captions in zip(updates, held_out, captioned, strict=True):
        if holdout:
            found.append(_held_out(holdout_name(update), holdout, partial(holdout_query, update)))
        if captions:
            found.append(_held_out(captions_name(update), captions, _captions))
    return tuple(found)


def _captions(images: tuple[ManifestEntry, ...]) -> RetrievalQuery:
    return RetrievalQuery(entries=images)


def _held_out(
    name: str,
    images: tuple[ManifestEntry, ...],
    query: Callable[[tuple[ManifestEntry, ...]], EvalQuery],
) -> SearchedSuite:
    parts = {part: entries_in(part, images) for part in Part}
    asked = {part.value: query(entries) if entries else None for part, entries in parts.items()}
    return SearchedSuite(name=name, **asked)


# The comparison: searches on suites and holdouts, and their report.


def compare_index(
    platform: Platform, embedder: Embedder, job: Job, order: CompareIndexOrder, monitor: Monitor
) -> None:
    """Compare two versions on the suites pinned with the job, and on holdouts of updates.

    A killed job begins again. Raises what the embedder raises, ArtifactGone, SuitesTooSmall, or
    ImageErased if an image was erased meanwhile.
    """
    with platform.transactions(read_only=True) as work:
        model = pinned_model(work, job.id)
        version = work[Versions].get(model.id, order.version)
        baseline = work[Versions].get(model.id, order.baseline)
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
        work[Models].lock_all()  # as an erasure does, before versions; orders of jobs do not wait
        _require_unerased(work, suites)
        work[Versions].get(model.id, version.number, lock=True).require_weights()
        work[IndexReports].put(stored)
        audit.record(
            work,
            Action.INDEX_COMPARED,
            f"models/{model.name}/versions/{version.number}/compatibility/{stored.baseline}",
            now=now,
            after={"verdict": result["verdict"], "bridge": stored.bridge},
            actor=f"job {job.id}",
        )
        work[Jobs].finish(job.succeed(result, now), job.fence)
        work.commit()


def _datasets_of(updates: Sequence[Version]) -> Iterator[str]:
    for update in updates:
        yield from map(source_of, update.taught)


def _require_unerased(work: Work, suites: tuple[SearchedSuite, ...]) -> None:
    parts = [part for suite in suites for part in (suite.validation, suite.test) if part]
    message = "An image was erased while versions were compared by it: order the report again."
    require_unerased(work, [entry for part in parts for entry in part.entries], message)


# The report: searches in an index of old vectors, the bridge, and the verdict.


def index_report(
    model: Model, version: Version, baseline: Version, found: IndexComparison, bridge: Digest
) -> dict[str, Any]:
    """Return the report as JSON."""
    measures = [measure_search(recalls) for recalls in found.searches]
    verdict, reason = judge_index(measures)
    return {
        "model": model.name,
        "version": version.number,
        "digest": version.digest,
        "from": baseline.number,
        "from_digest": baseline.digest,
        "verdict": verdict.value,
        "reason": reason,
        "depth": DEPTH,
        "tolerance": TOLERANCE,
        "least_queries": LEAST_QUERIES,
        "bridge": {
            "artifact": bridge,
            "size": len(found.bridge.file),
            "kind": found.bridge.kind,
            "images": found.bridge.images,
            "scores": dict(found.bridge.scores),
        },
        "searches": [_search(measure) for measure in measures],
        "vectors": [dict(vars(vectors)) for vectors in found.vectors],
        "maps": [one.to_json() for one in found.maps],
    }


def read_index_report(platform: Platform, report: IndexReport) -> Json:
    """Return the JSON of a stored report. Raises ArtifactMissing or ArtifactCorrupt."""
    found: Json = json.loads(platform.artifacts.get(report.report))
    return found


def embedding_maps(
    platform: Platform, model: str, version: int, baseline: int
) -> tuple[Model, IndexReport, Sequence[EmbeddingMap]]:
    """Return the maps of a report.

    Raises ModelNotFound, VersionNotFound, IndexReportNotFound, ArtifactMissing or ArtifactCorrupt.
    """
    with platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        number = work[Versions].get(found.id, version).number
        report = work[IndexReports].get(found.id, number, baseline)
    maps = read_index_report(platform, report)["maps"]
    return found, report, [EmbeddingMap.from_json(one) for one in maps]


def _search(measure: SearchMeasure) -> dict[str, Any]:
    return {
        **vars(measure),
        "search": measure.search.value,
        "judged": measure.judged,
        "raw_loss": _loss(measure.raw_loss),
        "bridged_loss": _loss(measure.bridged_loss),
    }


def _loss(loss: Loss) -> dict[str, float]:
    return {"value": loss.value, "lower": loss.interval.lower, "upper": loss.interval.upper}
