"""The examination of a candidate: which version must answer which question.

Verdicts see the test part of suites and holdouts; the validation part is for selecting.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from core.domain.datasets.dataset import Manifest, ManifestEntry, Part
from core.domain.datasets.suite import Suite, SuiteKind
from core.domain.evaluation.query import ClassQuery, EvalQuery, RetrievalQuery
from core.domain.gate.policy import GatePolicy
from core.domain.registry.version import Model, Version


@dataclass(frozen=True, kw_only=True)
class ScoredSuite:
    """A suite with its images."""

    suite: Suite
    manifest: Manifest


@dataclass(frozen=True, kw_only=True)
class HeldOutUpdate:
    """What an update made, and the images that were held out of it (both parts)."""

    version: Version
    holdout: tuple[ManifestEntry, ...]


@dataclass(frozen=True, kw_only=True)
class ClassEvaluation:
    """One set of images, asked over the class list it came with and over the union.

    Forgetting is judged on `own`. In `union` all classes the candidate has learned compete
    too: a separate number. Where nothing was added the two questions are the same one.
    """

    name: str
    own: ClassQuery
    union: ClassQuery


@dataclass(frozen=True, kw_only=True)
class RetrievalEvaluation:
    """A captioned suite's question."""

    name: str
    own: RetrievalQuery


@dataclass(frozen=True, kw_only=True)
class LiveLine:
    """The version that a promotion would replace though the candidate does not descend from it."""

    version: Version
    updates: tuple[
        HeldOutUpdate, ...
    ]  # that the version has and the candidate has not, oldest first


@dataclass(frozen=True, kw_only=True)
class HoldoutEvaluation:
    """An update's holdout, with the version that learned it."""

    learner: Version
    exam: ClassEvaluation


@dataclass(frozen=True, kw_only=True)
class EvaluationPlan:
    """All questions of a candidate; holdouts in the order of the updates, its own last."""

    model: Model
    policy: GatePolicy
    candidate: Version
    parent: Version
    root: Version
    live: Version | None  # what a promotion would replace, if it is none of the candidate's line
    suites: tuple[Suite, ...]  # with those that have no test image, and are not asked
    zero_shot: tuple[ClassEvaluation, ...]
    retrieval: tuple[RetrievalEvaluation, ...]
    holdouts: tuple[HoldoutEvaluation, ...]  # those with a test image
    live_holdouts: tuple[HoldoutEvaluation, ...]  # of the updates that only the live version has

    @property
    def own(self) -> HoldoutEvaluation | None:
        """The candidate's own holdout, if it has a test image."""
        return next((h for h in self.holdouts if h.learner == self.candidate), None)

    @property
    def earlier(self) -> tuple[HoldoutEvaluation, ...]:
        """The holdouts of the updates before the candidate's."""
        return tuple(h for h in self.holdouts if h.learner != self.candidate)

    @property
    def questions(self) -> tuple[tuple[Version, tuple[EvalQuery, ...]], ...]:
        """Who must answer what: different digests, different questions each.

        Candidate, parent, root and live version answer everything; what only the live version has
        learned is asked of it and the candidate. The version that learned an earlier holdout
        answers its own question, which it was asked as a candidate: what it said is remembered,
        so its weights may be gone. The order is the same for the same examination.
        """
        shared: list[EvalQuery] = [exam.own for exam in self.retrieval]
        for exam in (*self.zero_shot, *(holdout.exam for holdout in self.holdouts)):
            shared += [exam.own, exam.union]
        whole = list(shared)
        for holdout in self.live_holdouts:
            whole += [holdout.exam.own, holdout.exam.union]
        asked = [(self.candidate, whole), (self.parent, shared), (self.root, shared)]
        if self.live is not None:
            asked.append((self.live, whole))
        asked += [(h.learner, [h.exam.own]) for h in self.earlier]
        versions = {version.digest: version for version, _ in asked}
        return tuple(
            (version, _distinct(q for asks, qs in asked if asks.digest == digest for q in qs))
            for digest, version in versions.items()
        )


def _distinct(questions: Iterable[EvalQuery]) -> tuple[EvalQuery, ...]:
    return tuple({question.digest: question for question in questions}.values())


def plan_queries(
    *,
    model: Model,
    policy: GatePolicy,
    candidate: HeldOutUpdate,
    parent: Version,
    root: Version,
    earlier: Sequence[HeldOutUpdate],
    suites: Sequence[ScoredSuite],
    live: LiveLine | None = None,
) -> EvaluationPlan:
    """What must be asked about a candidate; `earlier` are its line's updates, oldest first."""
    learned = candidate.version.classes
    zero_shot: list[ClassEvaluation] = []
    retrieval: list[RetrievalEvaluation] = []
    for scored in suites:
        name = scored.suite.name
        match suite_query(scored, Part.TEST):
            case RetrievalQuery() as question:
                retrieval.append(RetrievalEvaluation(name=name, own=question))
            case ClassQuery() as question:
                zero_shot.append(_class_exam(name, question, learned))
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
        holdouts=_holdout_exams((*earlier, candidate), learned),
        live_holdouts=_holdout_exams(live.updates if live else (), learned),
    )


def suite_query(scored: ScoredSuite, part: Part) -> EvalQuery | None:
    """What a suite asks about its images in one part; None when it has none there."""
    suite, entries = scored.suite, entries_in(part, scored.manifest.entries)
    if not entries:
        return None
    if suite.kind is SuiteKind.RETRIEVAL:
        return RetrievalQuery(entries=entries)
    return ClassQuery(entries=entries, classes=suite.classes, prompt=suite.prompt)


def entries_in(part: Part, entries: Iterable[ManifestEntry]) -> tuple[ManifestEntry, ...]:
    """Those of a suite's or a holdout's images that are in one part."""
    return tuple(entry for entry in entries if entry.part is part)


def _class_exam(name: str, own: ClassQuery, learned: tuple[str, ...]) -> ClassEvaluation:
    union = replace(own, classes=_union(own.classes, learned))
    return ClassEvaluation(name=name, own=own, union=union)


def _holdout_exams(
    updates: Iterable[HeldOutUpdate], learned: tuple[str, ...]
) -> tuple[HoldoutEvaluation, ...]:
    return tuple(
        HoldoutEvaluation(learner=update.version, exam=_holdout_exam(update, entries, learned))
        for update in updates
        if (entries := entries_in(Part.TEST, update.holdout))
    )


def _holdout_exam(
    update: HeldOutUpdate, entries: tuple[ManifestEntry, ...], learned: tuple[str, ...]
) -> ClassEvaluation:
    then, prompt = update.version.classes, update.version.prompt
    own = ClassQuery(entries=entries, classes=then, prompt=prompt)
    return _class_exam(f"version {update.version.number}", own, learned)


def _union(own: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    """`own` and those of `more` that would be asked by a prompt of their own."""
    known = {name.lower() for name in own}
    return own + tuple(name for name in more if name.lower() not in known)
