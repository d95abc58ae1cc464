"""Follow an erasure: which versions it has marked, and what replaces them by now."""

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

from core.domain.erasure.erasure import Erasure, MarkedVersion
from core.domain.erasure.status import ErasureStatus
from core.domain.jobs.order import UpdateOrder
from core.domain.registry.alias import Alias
from core.domain.registry.version import Version
from core.domain.values import ModelId
from core.errors import VersionNotFound
from core.ports import UnitOfWork
from core.use_cases.jobs.unfinished import unfinished_jobs


@dataclass(frozen=True, kw_only=True)
class Followed:
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
    versions: Sequence[Followed]
    aliases: Sequence[tuple[str, Alias]]  # that point at marked versions, after the model's name


def follow(work: UnitOfWork, erasure: Erasure) -> Progress:
    """Return how far an erasure has come."""
    marked = erasure.findings.versions
    models = {one.model: one.name for one in marked}
    waiting = {
        (model, job.order.replaces)
        for model in models
        for job in unfinished_jobs(work, model)
        if isinstance(job.order, UpdateOrder)
    }
    numbers = {(one.model, one.number) for one in marked}
    versions = [_follow(work, one, numbers, waiting) for one in marked]
    return Progress(
        erasure=erasure,
        status=ErasureStatus.of(
            work.jobs.get(erasure.job).status,
            waiting=sum(one.waits for one in versions),
            missing=sum(_is_missing(one) for one in versions),
        ),
        versions=versions,
        aliases=[
            (models[alias.model], alias)
            for alias in (work.aliases.all(*models) if models else ())
            if (alias.model, alias.version) in numbers
        ],
    )


def _follow(
    work: UnitOfWork,
    marked: MarkedVersion,
    numbers: Collection[tuple[ModelId, int]],
    waiting: Collection[tuple[ModelId, int | None]],
) -> Followed:
    """Return what a marked version has become.

    What replaced it after an earlier erasure may be marked as well: then what counts is what
    replaces that.
    """
    version, number = None, marked.number
    with suppress(VersionNotFound):
        version = work.versions.get(marked.model, marked.number)
    by = work.versions.replacement(marked.model, number)
    while by is not None and (by.model, by.number) in numbers:
        number = by.number
        by = work.versions.replacement(marked.model, number)
    return Followed(marked=marked, version=version, by=by, waits=(marked.model, number) in waiting)


def _is_missing(one: Followed) -> bool:
    wanted = one.marked.retrained or one.marked.obstacle is not None
    return wanted and one.version is not None and one.by is None
