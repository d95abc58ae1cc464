"""Read back what versions answered when they were evaluated."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from core.artifacts.store import Artifacts
from core.database.work import Work
from core.datasets.freeze import read_remaining
from core.datasets.labels import SuiteLabels
from core.datasets.manifests import Part
from core.datasets.rules import Suite, SuiteKind
from core.datasets.thumbnail_rows import Splits
from core.datasets.version_rows import Suites
from core.errors import SuiteNotFound
from core.evaluation.answers import Answers, ClassAnswers, answers_from_json
from core.evaluation.exams import ScoredSuite, entries_in, suite_query
from core.evaluation.holdouts import captions_name, holdout_name, holdout_query
from core.evaluation.queries import NamedQuery, RetrievalQuery, asks_for, probabilities_of
from core.evaluation.results import AnswersByQuery
from core.evaluation.rows import AnswerCache
from core.gate.rows import Policies
from core.platform import Platform
from core.registry.read import (
    added_images,
    captions_held_out_of,
    holdouts_of,
    read_added,
    read_json,
)
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version
from core.values import Digest, Json


@dataclass(frozen=True, kw_only=True)
class StoredAnswers:
    """The queries on test images that versions may have answered, and the answers that are kept."""

    queries: Sequence[NamedQuery]
    answers: AnswersByQuery
    reports: Mapping[int, Json]  # of the first and the last version, by number, if they have one


def read_answers(
    platform: Platform,
    model: Model,
    versions: Sequence[Version],
    *,
    about: str | None = None,
    probabilities: bool = False,
) -> StoredAnswers:
    """Return what versions answered about suites, and about holdouts of their lineages.

    The suites are those of the model and those in the reports of the first and the last version.
    With `about`, only queries that have an image of this class count, or of one that the model's
    policy calls the same; with `probabilities`, answers
    have those that are stored. Answers whose bytes are gone or damaged are left out, as if they had
    never been given.
    """
    artifacts = platform.artifacts
    reports = {
        version.number: report
        for version in (versions[0], versions[-1])
        if (report := read_json(artifacts, version.report))
    }
    with platform.transactions(read_only=True) as work:
        distinct: dict[Digest, NamedQuery] = {}
        meanings = work[Policies].get(model.policy).meanings
        for named in (
            *_on_suites(work, artifacts, model, reports.values()),
            *_on_holdouts(work, artifacts, versions),
        ):
            if about is None or asks_for(named, about, meanings):
                distinct.setdefault(named.query.digest, named)
        digests = {version.digest for version in versions}
        kept = work[AnswerCache].stored(digests, distinct.keys())
        wanted = [probabilities_of(query) for query in distinct] if probabilities else []
        beside = work[AnswerCache].stored(digests, wanted)
    answers = {
        (version, query): _with_probabilities(
            artifacts, found, beside.get((version, probabilities_of(query)))
        )
        for (version, query), found in read_each(artifacts, kept).items()
    }
    return StoredAnswers(queries=[*distinct.values()], answers=answers, reports=reports)


def read_each(
    artifacts: Artifacts, kept: Mapping[tuple[Digest, Digest], Digest]
) -> dict[tuple[Digest, Digest], Answers]:
    """Return the answers in artifacts, without those whose bytes are gone or damaged."""
    return {
        key: answers_from_json(found)
        for key, artifact in kept.items()
        if (found := read_json(artifacts, artifact))
    }


def damaged_in(
    artifacts: Artifacts, kept: Mapping[tuple[Digest, Digest], Digest]
) -> set[tuple[Digest, Digest]]:
    """Return the keys of artifacts whose bytes are gone or damaged."""
    return {key for key, artifact in kept.items() if read_json(artifacts, artifact) is None}


def _with_probabilities(artifacts: Artifacts, answers: Answers, stored: Digest | None) -> Answers:
    found = read_json(artifacts, stored)
    if found is None or not isinstance(answers, ClassAnswers):
        return answers
    return replace(answers, probabilities=tuple(found["probabilities"]))


def with_views(artifacts: Artifacts, answers: Answers, stored: Digest | None) -> Answers:
    """Return answers with those to views of the images, as far as they can be read."""
    found = read_json(artifacts, stored)
    if found is None or not isinstance(answers, ClassAnswers):
        return answers
    return replace(answers, views=tuple(map(tuple, found["views"])))


def read_suite(work: Work, artifacts: Artifacts, suite: Suite) -> ScoredSuite:
    """Return a suite with its images, except those that were erased, and with their labels."""
    scored = ScoredSuite(suite=suite, manifest=read_remaining(work, artifacts, suite.manifest))
    if suite.kind is not SuiteKind.UNLABELLED:
        return scored
    return replace(scored, labels=work[SuiteLabels].of(suite.id), split=work[Splits].get())


def _on_suites(
    work: Work, artifacts: Artifacts, model: Model, reports: Iterable[Json]
) -> Iterator[NamedQuery]:
    known = dict.fromkeys(model.suites)
    known |= dict.fromkeys(suite for report in reports for suite in report.get("suites", ()))
    for suite_id in known:
        with suppress(SuiteNotFound):
            suite = work[Suites].get(suite_id)
            query = suite_query(read_suite(work, artifacts, suite), Part.TEST)
            if query is not None:
                yield NamedQuery(name=suite.name, query=query)


def _on_holdouts(
    work: Work, artifacts: Artifacts, versions: Sequence[Version]
) -> Iterator[NamedQuery]:
    learners = [learner for _, learner in sorted(_lineages(work, versions).items())]
    added = added_images(work, versions[0].model)
    digests = {version.digest for version in versions}
    held_out = holdouts_of(work, artifacts, learners)
    captioned = captions_held_out_of(work, artifacts, learners)
    for learner, holdout, captions in zip(learners, held_out, captioned, strict=True):
        more = read_added(work, artifacts, added, learner)
        entries, whole = (entries_in(Part.TEST, images) for images in (holdout, (*holdout, *more)))
        if len(whole) > len(entries):  # all have answered about these, or about what was first
            query = holdout_query(learner, whole)
            if len(work[AnswerCache].stored(digests, [query.digest])) == len(digests):
                entries = whole
        if entries:
            query = holdout_query(learner, entries)
            yield NamedQuery(name=holdout_name(learner), holdout=True, query=query)
        if shown := entries_in(Part.TEST, captions):
            asked = RetrievalQuery(entries=shown)
            yield NamedQuery(name=captions_name(learner), holdout=True, query=asked)


def _lineages(work: Work, versions: Sequence[Version]) -> Mapping[int, Version]:
    """Return versions and all their ancestors by number; each is read once."""
    found = {version.number: version for version in versions}
    waiting = list(versions)
    while waiting:
        parent = waiting.pop().parent
        if parent is not None and parent not in found:
            found[parent] = work[Versions].get(versions[0].model, parent)
            waiting.append(found[parent])
    return found
