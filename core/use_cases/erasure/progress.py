"""Follow erasures: which versions they have marked, and what replaces these by now."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from core.domain.erasure.erasure import Erasure, MarkedVersion
from core.domain.erasure.status import ErasureStatus
from core.domain.jobs.job import JobStatus
from core.domain.jobs.order import UpdateOrder
from core.domain.registry.alias import Alias
from core.domain.registry.version import Version
from core.domain.values import ModelId
from core.ports import UnitOfWork
from core.use_cases.jobs.unfinished import unfinished_jobs


@dataclass(frozen=True, kw_only=True)
class MarkedState:
    """A marked version as it is now."""

    marked: MarkedVersion
    version: Version | None  # None: it was deleted since
    by: Version | None  # that replaces it
    waits: bool  # for an update that will replace it


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The progress of an erasure."""

    erasure: Erasure
    status: ErasureStatus
    versions: Sequence[MarkedState]
    aliases: Sequence[tuple[str, Alias]]  # that point at marked versions, after the model's name


def progress_of(work: UnitOfWork, erasures: Sequence[Erasure]) -> list[Progress]:
    """Return how far erasures have come; a model is read once for all of them."""
    jobs = work.jobs.statuses([erasure.job for erasure in erasures])
    marked = [one for erasure in erasures for one in erasure.findings.versions]
    lines = {model: _Line.of(work, model) for model in {one.model for one in marked}}
    return [_progress(erasure, jobs[erasure.job], lines) for erasure in erasures]


@dataclass(frozen=True, kw_only=True)
class _Line:
    """The versions of a model as they are now."""

    versions: Mapping[int, Version]
    replacements: Mapping[int, Version]  # the newest version that replaces each number
    waiting: Collection[int | None]  # what unfinished updates will replace
    aliases: Sequence[Alias]

    @classmethod
    def of(cls, work: UnitOfWork, model: ModelId) -> "_Line":
        """Return the versions of a model."""
        versions = work.versions.all(model)
        return cls(
            versions={version.number: version for version in versions},
            replacements={one.replaces: one for one in versions if one.replaces is not None},
            waiting={
                job.order.replaces
                for job in unfinished_jobs(work, model)
                if isinstance(job.order, UpdateOrder)
            },
            aliases=work.aliases.all(model),
        )


def _progress(erasure: Erasure, job: JobStatus, lines: Mapping[ModelId, _Line]) -> Progress:
    marked = erasure.findings.versions
    models = {one.model: one.name for one in marked}
    numbers = {(one.model, one.number) for one in marked}
    versions = [_follow(one, numbers, lines[one.model]) for one in marked]
    return Progress(
        erasure=erasure,
        status=ErasureStatus.of(
            job,
            waiting=sum(one.waits for one in versions),
            missing=sum(_is_missing(one) for one in versions),
        ),
        versions=versions,
        aliases=[
            (models[model], alias)
            for model in sorted(models)
            for alias in lines[model].aliases
            if (model, alias.version) in numbers
        ],
    )


def _follow(
    marked: MarkedVersion, numbers: Collection[tuple[ModelId, int]], line: _Line
) -> MarkedState:
    """Return what a marked version has become.

    What replaced it after an earlier erasure may be marked as well: then what counts is what
    replaces that.
    """
    number, by = marked.number, line.replacements.get(marked.number)
    while by is not None and (by.model, by.number) in numbers:
        number, by = by.number, line.replacements.get(by.number)
    return MarkedState(
        marked=marked,
        version=line.versions.get(marked.number),
        by=by,
        waits=number in line.waiting,
    )


def _is_missing(one: MarkedState) -> bool:
    wanted = one.marked.retrained or one.marked.obstacle is not None
    return wanted and one.version is not None and one.by is None
