"""Order a comparison: searches by a version in an index of another version's vectors."""

from collections.abc import Sequence

from core.domain.datasets.split import Part
from core.domain.evaluation.plan_queries import (
    ScoredSuite,
    entries_in,
    holdout_name,
    holdout_query,
    suite_query,
)
from core.domain.jobs.job import Job
from core.domain.jobs.order import CompareIndexOrder, JobType
from core.domain.registry.version import Model, Version
from core.domain.vectors.searched_suite import SearchedSuite, require_searchable
from core.errors import FieldInvalid
from core.ports import JobNotifier, Platform, UnitOfWork
from core.use_cases.datasets.manifests import read_remaining
from core.use_cases.jobs.order_for_model import order_for_model
from core.use_cases.jobs.queue import JobRequest
from core.use_cases.registry.lineage import ancestors, holdout_of
from core.use_cases.registry.model_suites import suites_of
from core.use_cases.vectors.order_reembedding import vectors_lane


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

    def prepare(work: UnitOfWork, found: Model) -> CompareIndexOrder:
        parent = work.versions.get(found.id, version).parent
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
    platform: Platform, work: UnitOfWork, model: Model, order: CompareIndexOrder
) -> None:
    """Raise an error unless two versions can be compared, and keep their weights.

    That is VersionNotFound, ArtifactGone or SuitesTooSmall.
    """
    for number in sorted({order.version, order.baseline}):
        work.versions.get(model.id, number, lock=True).require_weights()
    version = work.versions.get(model.id, order.version)
    require_searchable(searched_suites(platform, work, model, updates_since(work, version, order)))


def updates_since(
    work: UnitOfWork, version: Version, order: CompareIndexOrder
) -> tuple[Version, ...]:
    """Return the updates that lead from the baseline to a version; of a cousin, all of its line."""
    line = [*ancestors(work, version), version]
    numbers = [one.number for one in line]
    after = numbers.index(order.baseline) if order.baseline in numbers else 0
    return tuple(line[after + 1 :])


def searched_suites(
    platform: Platform, work: UnitOfWork, model: Model, updates: Sequence[Version]
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
    for update in updates:
        holdout = holdout_of(work, platform.artifacts, update)
        parts = {part: entries_in(part, holdout) for part in Part}
        found.append(
            SearchedSuite(
                name=holdout_name(update),
                **{
                    part.value: holdout_query(update, entries) if entries else None
                    for part, entries in parts.items()
                },
            )
        )
    return tuple(found)
