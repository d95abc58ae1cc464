"""Keep what versions answered about their own holdouts, when images of these are erased.

A holdout without an image is another query. The version that learned it may have no weights any
more to answer that with, and every later update of its line has to be scored beside it.
"""

import json
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass

from core.domain.datasets.dataset import DatasetRef
from core.domain.datasets.split import Part, Side
from core.domain.evaluation.plan_queries import entries_in, holdout_query
from core.domain.evaluation.query import (
    Answers,
    ClassAnswers,
    ClassQuery,
    answers_from_json,
    answers_to_json,
)
from core.domain.registry.version import Version
from core.domain.values import Digest, canonical_json
from core.errors import ArtifactCorrupt, ArtifactMissing
from core.ports import Artifacts, Platform, UnitOfWork
from core.use_cases.datasets.manifests import without_erased
from core.use_cases.erasure.holders import Holders, HoldingVersion

_MANY = 1_000_000


@dataclass(frozen=True, kw_only=True)
class CarriedAnswers:
    """A version's stored answers to what is left of its holdout."""

    version: Digest
    query: Digest
    answers: Digest


def carry_answers(
    platform: Platform, holders: Holders, pixels: Collection[Digest]
) -> list[CarriedAnswers]:
    """Store what versions answered about the images that are left of their holdouts."""
    with platform.transactions(read_only=True) as work:
        found = [
            (version, query, stored)
            for version, query in _own_queries(work, holders)
            if (stored := _stored(work, version, query)) is not None
        ]
    return [
        carried
        for version, query, stored in found
        if (carried := _carry(platform.artifacts, version, query, stored, pixels)) is not None
    ]


def _own_queries(work: UnitOfWork, holders: Holders) -> Iterator[tuple[Version, ClassQuery]]:
    """Yield versions that were tested on one of the images, each with its own holdout's query."""
    for model in work.models.page(_MANY, None):
        for version in work.versions.all(model.id):
            if version.dataset is None or version.dataset_version is None:
                continue
            own = DatasetRef(dataset=version.dataset, version=version.dataset_version)
            holder = holders.versions.get(own)
            if holder is not None and _tests(holder):
                holdout = without_erased(work, holder.manifest.on(Side.HOLDOUT))
                yield version, holdout_query(version, entries_in(Part.TEST, holdout))


def _tests(holder: HoldingVersion) -> bool:
    return any(one.side is Side.HOLDOUT and one.part is Part.TEST for one in holder.held)


def _stored(work: UnitOfWork, version: Version, query: ClassQuery) -> Digest | None:
    return work.answers.stored([version.digest], [query.digest]).get((version.digest, query.digest))


def _carry(
    artifacts: Artifacts,
    version: Version,
    query: ClassQuery,
    stored: Digest,
    pixels: Collection[Digest],
) -> CarriedAnswers | None:
    answers: Answers | None = None
    with suppress(ArtifactMissing, ArtifactCorrupt):  # then they count for nothing as it is
        answers = answers_from_json(json.loads(artifacts.get(stored)))
    if not isinstance(answers, ClassAnswers):
        return None
    pairs = zip(query.entries, answers.predicted, strict=True)
    left = [(entry, answer) for entry, answer in pairs if entry.pixels not in pixels]
    if not left:
        return None
    rest = holdout_query(version, tuple(entry for entry, _ in left))
    kept = ClassAnswers(predicted=tuple(answer for _, answer in left))
    return CarriedAnswers(
        version=version.digest,
        query=rest.digest,
        answers=artifacts.put(canonical_json(answers_to_json(kept))),
    )
