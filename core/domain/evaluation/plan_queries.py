"""Planning of the queries for a candidate.

Verdicts use the test part of suites and holdouts; the validation part is for selection.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from core.domain.datasets.manifest import Manifest, ManifestEntry
from core.domain.datasets.split import Part
from core.domain.datasets.suite import Suite, SuiteKind
from core.domain.evaluation.plan import (
    ClassEvaluation,
    EvaluationPlan,
    HoldoutEvaluation,
    RetrievalEvaluation,
)
from core.domain.evaluation.query import ClassQuery, EvalQuery, RetrievalQuery
from core.domain.gate.policy import GatePolicy
from core.domain.registry.version import Model, Version
from core.domain.rejection.calibration import LEARNED
from core.domain.rejection.query import CalibrationQuery, CalibrationSource
from core.domain.rejection.sources import source_of


@dataclass(frozen=True, kw_only=True)
class ScoredSuite:
    """A suite with its images."""

    suite: Suite
    manifest: Manifest


@dataclass(frozen=True, kw_only=True)
class HeldOutUpdate:
    """The version that an update made, and the images held out of it (both parts)."""

    version: Version
    holdout: tuple[ManifestEntry, ...]


@dataclass(frozen=True, kw_only=True)
class LiveLineage:
    """A live version that a promotion would replace and that is no ancestor of the candidate."""

    version: Version
    updates: tuple[
        HeldOutUpdate, ...
    ]  # of the version's lineage, not of the candidate's, oldest first


def plan_queries(
    *,
    model: Model,
    policy: GatePolicy,
    candidate: HeldOutUpdate,
    parent: Version,
    root: Version,
    earlier: Sequence[HeldOutUpdate],
    suites: Sequence[ScoredSuite],
    live: LiveLineage | None = None,
) -> EvaluationPlan:
    """Return the evaluation plan; `earlier` are the updates of the lineage, oldest first."""
    learned = candidate.version.classes
    zero_shot: list[ClassEvaluation] = []
    retrieval: list[RetrievalEvaluation] = []
    for scored in suites:
        name = scored.suite.name
        match suite_query(scored, Part.TEST):
            case RetrievalQuery() as query:
                retrieval.append(RetrievalEvaluation(name=name, own=query))
            case ClassQuery() as query:
                zero_shot.append(_class_evaluation(name, query, learned))
    return EvaluationPlan(
        model=model,
        policy=policy,
        candidate=candidate.version,
        parent=parent,
        root=root,
        live=live.version if live else None,
        suites=tuple(scored.suite for scored in suites),
        zero_shot=tuple(zero_shot),
        retrieval=tuple(retrieval),
        holdouts=_holdout_evaluations((*earlier, candidate), learned),
        live_holdouts=_holdout_evaluations(live.updates if live else (), learned),
        calibration=_calibration_query(suites, (*earlier, candidate)),
        root_calibration=_calibration_query(suites),
    )


def suite_query(scored: ScoredSuite, part: Part) -> EvalQuery | None:
    """Return a suite's query on its images in one part; None if it has none there."""
    suite, entries = scored.suite, entries_in(part, scored.manifest.entries)
    if not entries:
        return None
    if suite.kind is SuiteKind.RETRIEVAL:
        return RetrievalQuery(entries=entries)
    return ClassQuery(entries=entries, classes=suite.classes, prompt=suite.prompt)


def holdout_name(learner: Version) -> str:
    """Return the name of the holdout of the update that made a version."""
    return f"version {learner.number}"


def holdout_query(learner: Version, entries: tuple[ManifestEntry, ...]) -> ClassQuery:
    """Return the query of a holdout over the classes known when the update was learned."""
    return ClassQuery(entries=entries, classes=learner.classes, prompt=learner.prompt)


def entries_in(part: Part, entries: Iterable[ManifestEntry]) -> tuple[ManifestEntry, ...]:
    """Return the images of a suite or holdout that are in one part."""
    return tuple(entry for entry in entries if entry.part is part)


def _calibration_query(
    suites: Iterable[ScoredSuite], updates: Sequence[HeldOutUpdate] = ()
) -> CalibrationQuery | None:
    """Return the query about zero-shot suites, and about the holdouts of all updates together.

    None if none of these has enough images. The last update is that of the version itself; a root
    has none.
    """
    found = [_learned(updates)] if updates else []
    for scored in suites:
        suite = scored.suite
        if suite.kind is SuiteKind.ZERO_SHOT:
            entries = scored.manifest.entries
            found.append(source_of(suite.name, entries, suite.classes, suite.prompt))
    sources = tuple(source for source in found if source is not None)
    return CalibrationQuery(sources=sources) if sources else None


def _learned(updates: Sequence[HeldOutUpdate]) -> CalibrationSource | None:
    learner = updates[-1].version
    held_out = [entry for update in updates for entry in update.holdout]
    return source_of(LEARNED, held_out, learner.classes, learner.prompt)


def _class_evaluation(name: str, own: ClassQuery, learned: tuple[str, ...]) -> ClassEvaluation:
    union = replace(own, classes=_union(own.classes, learned))
    return ClassEvaluation(name=name, own=own, union=union)


def _holdout_evaluations(
    updates: Iterable[HeldOutUpdate], learned: tuple[str, ...]
) -> tuple[HoldoutEvaluation, ...]:
    return tuple(
        HoldoutEvaluation(
            learner=update.version, exam=_holdout_class_evaluation(update, entries, learned)
        )
        for update in updates
        if (entries := entries_in(Part.TEST, update.holdout))
    )


def _holdout_class_evaluation(
    update: HeldOutUpdate, entries: tuple[ManifestEntry, ...], learned: tuple[str, ...]
) -> ClassEvaluation:
    own = holdout_query(update.version, entries)
    return _class_evaluation(holdout_name(update.version), own, learned)


def _union(own: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    """Return `own` and those names of `more` whose prompts are not in `own`; case is ignored."""
    known = {name.lower() for name in own}
    return own + tuple(name for name in more if name.lower() not in known)
