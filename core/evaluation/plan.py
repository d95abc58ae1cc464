"""The evaluation plan: all queries for a candidate and for the versions that it is compared with.

Verdicts use the test part of suites and holdouts; the validation part is for selection, as of the
share of an update that is kept.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from core.datasets.manifests import Part
from core.datasets.rules import Suite, SuiteKind
from core.evaluation.exams import (
    ClassExam,
    Exam,
    RetrievalExam,
    ScoredSuite,
    captions_exam,
    class_exam,
    in_prompt_of,
    learned_by,
    suite_query,
    unlabelled_exam,
    without_gallery,
)
from core.evaluation.holdouts import (
    CaptionedHoldout,
    ClassHoldout,
    HeldOutUpdate,
    among_all,
    captioned_holdouts,
    class_holdouts,
    gallery_of,
    gallery_of_all,
    searched_among,
    settled_by_suite,
)
from core.evaluation.queries import ClassQuery, EvalQuery, RetrievalQuery
from core.evaluation.unlabelled import UnlabelledExam
from core.gate.kinds import LIVE, PARENT
from core.gate.rules import GatePolicy
from core.recipes.rules import distinct
from core.registry.versions import Model, Version
from core.rejection.queries import CalibrationQuery, CalibrationSource, source_of
from core.rejection.rules import LEARNED
from core.values import SuiteId


@dataclass(frozen=True, kw_only=True)
class EvaluationPlan:
    """All queries for a candidate; holdouts are in the order of the updates, its own last.

    They are about one part of the images: the test part, unless it was made for selection.
    """

    model: Model
    policy: GatePolicy
    candidate: Version
    parent: Version
    root: Version
    live: Version | None  # what a promotion would replace
    live_lineage: frozenset[int] = frozenset()  # the versions whose updates it inherits
    suites: tuple[Suite, ...]  # including those without an image of the part: they have no query
    zero_shot: tuple[ClassExam, ...]
    retrieval: tuple[RetrievalExam, ...]
    unlabelled: tuple[UnlabelledExam, ...] = ()
    holdouts: tuple[ClassHoldout, ...]  # those with an image of the part
    live_holdouts: tuple[ClassHoldout, ...]  # of `lost`, those with an image of the part
    captioned: tuple[CaptionedHoldout, ...] = ()  # as `holdouts`, of updates of captions
    live_captioned: tuple[CaptionedHoldout, ...] = ()  # as `live_holdouts`
    # The settled versions of the line that can answer about a suite, by its name; and of `lost`.
    settled: Mapping[str, tuple[Version, ...]] = field(default_factory=dict)
    live_settled: Mapping[str, tuple[Version, ...]] = field(default_factory=dict)
    settled_before: tuple[int, ...] = ()  # those of the line, whether they can answer or not
    # Suites, where they show what parent and live version have learned, over their default lists.
    parent_learned: tuple[ClassExam, ...] = ()
    live_learned: tuple[ClassExam, ...] = ()
    teachers: tuple[Version, ...] = ()  # the earlier updates, and `lost`
    lost: tuple[Version, ...] = ()  # updates that the live version inherits and this one lacks
    calibration: CalibrationQuery | None = None  # of the candidate, if it has images enough
    root_calibration: CalibrationQuery | None = None  # likewise, on the suites alone

    @property
    def suite_exams(self) -> tuple[Exam, ...]:
        """The exams of all suites."""
        return (*self.zero_shot, *self.retrieval, *self.unlabelled)

    @property
    def own(self) -> ClassHoldout | None:
        """The candidate's own holdout, if it has a test image."""
        return next((h for h in self.holdouts if h.learner == self.candidate), None)

    @property
    def earlier(self) -> tuple[ClassHoldout, ...]:
        """The holdouts of the updates before the candidate's."""
        return tuple(h for h in self.holdouts if h.learner != self.candidate)

    @property
    def kept(self) -> tuple[ClassHoldout, ...]:
        """The holdouts of all updates that the candidate may not lose: its line's, the live's."""
        return self.earlier + self.live_holdouts

    @property
    def own_captions(self) -> CaptionedHoldout | None:
        """The candidate's own holdout, if it was taught captions and has a test image."""
        return next((h for h in self.captioned if h.learner == self.candidate), None)

    @property
    def earlier_captions(self) -> tuple[CaptionedHoldout, ...]:
        """The holdouts of the updates of captions before the candidate's."""
        return tuple(h for h in self.captioned if h.learner != self.candidate)

    @property
    def kept_captions(self) -> tuple[CaptionedHoldout, ...]:
        """The holdouts of all updates of captions that the candidate may not lose."""
        return self.earlier_captions + self.live_captioned

    def learners_of(self, exams: Iterable[Exam]) -> frozenset[int]:
        """Return the versions whose holdouts are asked; none for suites and for its own."""
        names = {without_gallery(exam.name) for exam in exams}
        return frozenset(self._learners[name] for name in names if name in self._learners)

    @cached_property
    def _learners(self) -> Mapping[str, int]:
        every: list[ClassHoldout | CaptionedHoldout] = [*self.kept, *self.kept_captions]
        return {one.exam.name: one.learner.number for one in every}

    @property
    def added(self) -> tuple[SuiteId, ...]:
        """The suites of what was added to the holdouts, sorted."""
        return tuple(sorted(one.added for one in self.kept if one.added))

    @property
    def beside_parent(self) -> "EvaluationPlan":
        """The plan without what only the comparison with another live version judges."""
        return replace(
            self,
            live=None,
            live_lineage=frozenset(),
            live_holdouts=(),
            live_captioned=(),
            live_settled={},
            live_learned=(),
            lost=(),
        )

    def settled_for(self, suite: str) -> tuple[Version, ...]:
        """Return the settled versions with which a candidate is compared on a suite.

        Those of its line and of `lost` that a passing verdict let go live, of many every second:
        without those that are compared with it in another role.
        """
        others = {one.digest for one in (self.candidate, self.parent, self.root, self.live) if one}
        found = (*self.settled.get(suite, ()), *self.live_settled.get(suite, ()))
        return tuple(one for one in found if one.digest not in others)

    @property
    def by_default(self) -> tuple[tuple[str, Version, tuple[ClassExam, ...]], ...]:
        """The suites over default lists, by the role and the version that has learned them."""
        live = () if self.live is None else ((LIVE, self.live, self.live_learned),)
        return ((PARENT, self.parent, self.parent_learned), *live)

    @cached_property
    def settled_learned(self) -> tuple[tuple[Version, tuple[ClassExam, ...]], ...]:
        """The suites over learned lists, beside each settled version of the line with weights.

        They show what that version has learned; it is neither the parent nor the live version.
        """
        others = {one.digest for one in (self.parent, self.live) if one}
        anchors = {one.anchor.number: one.anchor for one in self.earlier if one.anchor}
        found = (
            (one, learned_by(one, self.zero_shot, self.candidate, self.policy.meanings))
            for number, one in sorted(anchors.items())
            if number in self.settled_before and one.digest not in others
        )
        return tuple((one, exams) for one, exams in found if exams)

    @cached_property
    def questions(self) -> tuple[tuple[Version, tuple[EvalQuery, ...]], ...]:
        """The queries that each version must answer, without duplicate versions or queries.

        Candidate, parent, root and live version answer the queries on suites and on the lineage's
        holdouts, the root not with the suites' classes; candidate and live version also answer
        those on `live_holdouts`. The version that learned an earlier holdout and the settled one
        answer that holdout's own query: they did so as candidates and the answers are stored, so
        their weights may have been collected. Anchors answer the candidate's lists, also about what
        suites show of that which settled ones have learned. Parent and live version answer over
        what they have learned themselves, too, also about suites that show it.
        Each version answers in its own prompt as well, where a query has another. Candidate and
        root are calibrated; the others were when they were candidates. Equal plans have the same
        order.
        """
        shared: list[EvalQuery] = [query for exam in self.retrieval for query in exam.queries]
        for each in self.zero_shot:
            shared += [each.own, each.union]
        for suite in self.unlabelled:
            shared += [suite.own, suite.union]
        for holdout in self.holdouts:
            shared += holdout.queries
        shared += [query for one in self.captioned for query in one.exam.queries]
        whole = list(shared)
        for holdout in self.live_holdouts:
            whole += holdout.queries
        whole += [query for one in self.live_captioned for query in one.exam.queries]
        asked: list[tuple[Version, Sequence[EvalQuery]]] = [
            (self.candidate, [*whole, *_with_suites(self.kept), *_asked(self.calibration)]),
            (self.parent, [*shared, *_with_suites(self.earlier)]),
            (self.parent, [one.exam.by_default(self.parent) for one in self.earlier]),
            (self.root, [*shared, *_asked(self.root_calibration)]),
        ]
        if self.live is not None:
            known = [one for one in self.kept if one.learner.number in self.live_lineage]
            asked.append((self.live, [*whole, *_with_suites(self.kept)]))
            asked.append((self.live, [one.exam.by_default(self.live) for one in known]))
        for _, version, learned in self.by_default:
            asked.append((version, [query for one in learned for query in (one.own, one.union)]))
            asked.append((self.candidate, [one.union for one in learned]))
        for settled, learned in self.settled_learned:
            everyone = (settled, self.candidate, *([self.live] if self.live else []))
            asked += [(by, [one.union for one in learned]) for by in everyone]
        for h in self.kept:
            if h.anchor is not None:
                asked.append((h.anchor, [h.exam.union, h.exam.with_suites]))
        for h in self.kept:
            if h.common is not None:
                asked += [(by, [h.common.own]) for by in (h.learner, h.settled)]
        asked += [(one.settled, [one.exam.own]) for one in self.kept_captions if one.settled]
        asked += [(by, [*_in_own_prompt(by, queries)]) for by, queries in tuple(asked)]
        exams: list[ClassExam | RetrievalExam] = [*self.zero_shot, *self.retrieval]
        for exam in exams:
            asked += [(by, [exam.own]) for by in self.settled_for(exam.name)]
        versions = {version.digest: version for version, _ in asked}
        return tuple(
            (version, _distinct(q for asks, qs in asked if asks.digest == digest for q in qs))
            for digest, version in versions.items()
        )


def _in_own_prompt(version: Version, queries: Iterable[EvalQuery]) -> Iterator[EvalQuery]:
    return (in_prompt_of(version, one) for one in queries if isinstance(one, ClassQuery))


def _with_suites(holdouts: Iterable[ClassHoldout]) -> list[EvalQuery]:
    return [holdout.exam.with_suites for holdout in holdouts]


def _asked(query: EvalQuery | None) -> list[EvalQuery]:
    return [] if query is None else [query]


def _distinct(queries: Iterable[EvalQuery]) -> tuple[EvalQuery, ...]:
    return tuple({query.digest: query for query in queries}.values())


@dataclass(frozen=True, kw_only=True)
class LiveLineage:
    """A live version that a promotion would replace."""

    version: Version
    lineage: frozenset[int]  # the versions whose updates it inherits: see `inheritance`
    updates: tuple[HeldOutUpdate, ...]  # of these, those that the candidate lacks, oldest first


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
    part: Part = Part.TEST,
    can_answer: Callable[[Version, EvalQuery], bool] = lambda *_: True,
) -> EvaluationPlan:
    """Return the evaluation plan; `earlier` are the updates of the lineage, oldest first.

    `can_answer` says whether a version can answer about a holdout that has changed since.
    """
    own = replace(candidate, more=(), added=None)  # what it gained is for its own images to show
    line, replaced = (*earlier, own), live.updates if live else ()
    learned, views = candidate.version.classes, policy.judged_views
    of_suites = distinct(name for scored in suites for name in scored.suite.classes)
    lost = tuple(update.version for update in live.updates) if live else ()
    zero_shot: list[ClassExam] = []
    retrieval: list[RetrievalExam] = []
    found = (unlabelled_exam(scored, learned, part) for scored in suites)
    unlabelled = tuple(one for one in found if one is not None)
    for scored in suites:
        name = scored.suite.name
        match suite_query(scored, part):
            case RetrievalQuery() as query:
                retrieval.append(captions_exam(name, query))
            case ClassQuery() as query:
                asked = replace(query, views=views, mirror=scored.suite.mirror)
                zero_shot.append(class_exam(name, asked, learned))
    suites_asked: list[ClassExam | RetrievalExam] = [*zero_shot, *retrieval]
    captioned = captioned_holdouts(line, candidate.version, part, can_answer)
    live_captioned = captioned_holdouts(replaced, candidate.version, part, can_answer)
    kept = [one.exam for one in captioned if one.learner != candidate.version]
    kept += [one.exam for one in live_captioned]
    among = gallery_of(one.own for one in (*kept, *retrieval)) if kept else None
    holdouts = class_holdouts(line, candidate.version, of_suites, part, views, can_answer)
    live_holdouts = class_holdouts(replaced, candidate.version, of_suites, part, views, can_answer)
    searches = [*retrieval, *(one.exam for one in (*captioned, *live_captioned))]
    held_out = [one.exam for one in (*holdouts, *live_holdouts)]
    whole = gallery_of_all(searches, (*zero_shot, *unlabelled, *held_out))

    def searched(found: Sequence[CaptionedHoldout]) -> tuple[CaptionedHoldout, ...]:
        first = searched_among(among, found, candidate.version, policy)
        return tuple(replace(one, exam=among_all(one.exam, whole)) for one in first)

    return EvaluationPlan(
        model=model,
        policy=policy,
        candidate=candidate.version,
        parent=parent,
        root=root,
        live=live.version if live else None,
        live_lineage=live.lineage if live else frozenset(),
        suites=tuple(scored.suite for scored in suites),
        zero_shot=tuple(zero_shot),
        retrieval=tuple(among_all(exam, whole) for exam in retrieval),
        unlabelled=unlabelled,
        holdouts=holdouts,
        live_holdouts=live_holdouts,
        captioned=searched(captioned),
        live_captioned=searched(live_captioned),
        settled=settled_by_suite(suites_asked, earlier, can_answer),
        live_settled=settled_by_suite(suites_asked, live.updates if live else (), can_answer),
        settled_before=tuple(sorted(one.version.number for one in earlier if one.passed)),
        parent_learned=learned_by(parent, zero_shot, candidate.version, policy.meanings),
        live_learned=learned_by(live.version, zero_shot, candidate.version, policy.meanings)
        if live
        else (),
        teachers=(*(update.version for update in earlier), *lost),
        lost=lost,
        calibration=_calibration_query(suites, (*earlier, candidate)),
        root_calibration=_calibration_query(suites),
    )


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
