"""Planning of the queries for a candidate.

Verdicts use the test part of suites and holdouts; the validation part is for selection, as of the
share of an update that is kept.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from core.datasets.manifests import Manifest, ManifestEntry, Part, Split
from core.datasets.rules import Suite, SuiteKind, lineage_of
from core.evaluation.queries import ClassQuery, EvalQuery, RetrievalQuery
from core.evaluation.unlabelled import UnlabelledEvaluation, in_order, labelled_entries
from core.gate.kinds import ClassList
from core.gate.rules import GatePolicy
from core.recipes.rules import distinct
from core.registry.versions import Model, Version
from core.rejection.queries import CalibrationQuery, CalibrationSource, source_of
from core.rejection.rules import LEARNED
from core.values import Digest, SuiteId


@dataclass(frozen=True, kw_only=True)
class ClassEvaluation:
    """Queries on the same images over several lists of classes, three of which are fields.

    `own` shows what is forgotten. In `union`, all classes that the candidate has learned compete
    too, so it shows what newer classes swallow. In `with_suites`, which is for holdouts, those of
    the model's zero-shot suites do too, as for callers who ask with everything. Where a list adds
    no class, the query is equal to the one before.
    """

    name: str
    own: ClassQuery
    union: ClassQuery
    with_suites: ClassQuery

    def over(self, asked: ClassList) -> ClassQuery:
        """Return what the candidate is asked over one of the lists."""
        if asked is ClassList.WITH_SUITES:
            return self.with_suites
        return self.own if asked is ClassList.OWN else self.union

    def by_default(self, version: Version) -> ClassQuery:
        """Return the query over what a version has learned; `union` if it is the candidate."""
        return replace(self.own, classes=_union(self.own.classes, version.classes))


@dataclass(frozen=True, kw_only=True)
class RetrievalEvaluation:
    """The query of a captioned suite or holdout, whose gallery is its own images.

    `among` has all captioned images: a small holdout is searched for among these, as few images
    are an easy question. None: it is judged in its own gallery.
    """

    name: str
    own: RetrievalQuery
    among: RetrievalQuery | None = None

    @property
    def asked(self) -> RetrievalQuery:
        """The query by whose answers it is judged."""
        return self.among or self.own

    @property
    def alone(self) -> "RetrievalEvaluation":
        """The evaluation in its own gallery."""
        return replace(self, among=None)

    def over(self, _: ClassList) -> RetrievalQuery:
        """Return the query, which has no classes."""
        return self.own


@dataclass(frozen=True, kw_only=True)
class HoldoutEvaluation:
    """An update's holdout, with the version that learned it and the settled one.

    The settled version is the first of the line after the learner that a passing verdict let go
    live, because the learner itself is at its lucky peak; the learner if there is none. Neither a
    rollback nor a later verdict changes which version that is. What was promoted with a reason or
    an override does not count: whoever promotes would choose from where losses are measured.

    `anchor` stands for the settled version where it has to answer with the candidate's classes,
    for which it needs its weights: see `_with_anchors`. None if there is none.
    """

    learner: Version
    settled: Version
    anchor: Version | None = None
    exam: ClassEvaluation
    common: ClassEvaluation | None  # on what learner and settled version can answer about
    added: SuiteId | None = None  # the images that were added to what the update held out
    at_first: tuple[ManifestEntry, ...] = ()  # the images without these

    @property
    def queries(self) -> list[EvalQuery]:
        """All queries on the images."""
        common = [] if self.common is None else [self.common.own]
        return [self.exam.own, self.exam.union, *common]


@dataclass(frozen=True, kw_only=True)
class CaptionedHoldout:
    """The captioned holdout of an update, with the version that learned it and the settled one.

    The settled version has answered about the holdout alone. It is None if it cannot any more:
    erased images change the gallery, and with it all answers.
    """

    learner: Version
    settled: Version | None
    exam: RetrievalEvaluation


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
    zero_shot: tuple[ClassEvaluation, ...]
    retrieval: tuple[RetrievalEvaluation, ...]
    unlabelled: tuple[UnlabelledEvaluation, ...] = ()
    holdouts: tuple[HoldoutEvaluation, ...]  # those with an image of the part
    live_holdouts: tuple[HoldoutEvaluation, ...]  # of `lost`, those with an image of the part
    captioned: tuple[CaptionedHoldout, ...] = ()  # as `holdouts`, of updates of captions
    live_captioned: tuple[CaptionedHoldout, ...] = ()  # as `live_holdouts`
    # The settled versions of the line that can answer about a suite, by its name; and of `lost`.
    settled: Mapping[str, tuple[Version, ...]] = field(default_factory=dict)
    live_settled: Mapping[str, tuple[Version, ...]] = field(default_factory=dict)
    teachers: tuple[Version, ...] = ()  # the earlier updates, and `lost`
    lost: tuple[Version, ...] = ()  # updates that the live version inherits and this one lacks
    calibration: CalibrationQuery | None = None  # of the candidate, if it has images enough
    root_calibration: CalibrationQuery | None = None  # likewise, on the suites alone

    @property
    def own(self) -> HoldoutEvaluation | None:
        """The candidate's own holdout, if it has a test image."""
        return next((h for h in self.holdouts if h.learner == self.candidate), None)

    @property
    def earlier(self) -> tuple[HoldoutEvaluation, ...]:
        """The holdouts of the updates before the candidate's."""
        return tuple(h for h in self.holdouts if h.learner != self.candidate)

    @property
    def kept(self) -> tuple[HoldoutEvaluation, ...]:
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
    def questions(self) -> tuple[tuple[Version, tuple[EvalQuery, ...]], ...]:
        """The queries that each version must answer, without duplicate versions or queries.

        Candidate, parent, root and live version answer the queries on suites and on the lineage's
        holdouts, the root not with the suites' classes; candidate and live version also answer
        those on `live_holdouts`. The version that learned an earlier holdout and the settled one
        answer that holdout's own query: they did so as candidates and the answers are stored, so
        their weights may have been collected. Anchors answer the candidate's lists. Parent and live
        version answer over what they have learned themselves, too. Each version
        answers in its own prompt as well, where a query has another. Candidate and root are
        calibrated; the others were when they were candidates. Equal plans have the same order.
        """
        shared: list[EvalQuery] = [evaluation.own for evaluation in self.retrieval]
        for evaluation in self.zero_shot:
            shared += [evaluation.own, evaluation.union]
        for suite in self.unlabelled:
            shared += [suite.own, suite.union]
        for holdout in self.holdouts:
            shared += holdout.queries
        shared += [query for one in self.captioned for query in (one.exam.own, one.exam.asked)]
        whole = list(shared)
        for holdout in self.live_holdouts:
            whole += holdout.queries
        whole += [query for one in self.live_captioned for query in (one.exam.own, one.exam.asked)]
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
        for h in self.kept:
            if h.anchor is not None:
                asked.append((h.anchor, [h.exam.union, h.exam.with_suites]))
        for h in self.kept:
            if h.common is not None:
                asked += [(by, [h.common.own]) for by in (h.learner, h.settled)]
        asked += [(one.settled, [one.exam.own]) for one in self.kept_captions if one.settled]
        asked += [(by, [*_in_own_prompt(by, queries)]) for by, queries in tuple(asked)]
        exams: list[ClassEvaluation | RetrievalEvaluation] = [*self.zero_shot, *self.retrieval]
        for exam in exams:
            asked += [(by, [exam.own]) for by in self.settled_for(exam.name)]
        versions = {version.digest: version for version, _ in asked}
        return tuple(
            (version, _distinct(q for asks, qs in asked if asks.digest == digest for q in qs))
            for digest, version in versions.items()
        )


def _in_own_prompt(version: Version, queries: Iterable[EvalQuery]) -> Iterator[EvalQuery]:
    return (in_prompt_of(version, one) for one in queries if isinstance(one, ClassQuery))


def _with_suites(holdouts: Iterable[HoldoutEvaluation]) -> list[EvalQuery]:
    return [holdout.exam.with_suites for holdout in holdouts]


def _asked(query: EvalQuery | None) -> list[EvalQuery]:
    return [] if query is None else [query]


def _distinct(queries: Iterable[EvalQuery]) -> tuple[EvalQuery, ...]:
    return tuple({query.digest: query for query in queries}.values())


@dataclass(frozen=True, kw_only=True)
class ScoredSuite:
    """A suite with its images, and of an unlabelled one with the labels that were given since."""

    suite: Suite
    manifest: Manifest
    labels: Mapping[Digest, str] = field(default_factory=dict)
    split: Split = field(default_factory=Split)  # which draws the order of these


@dataclass(frozen=True, kw_only=True)
class HeldOutUpdate:
    """The version that an update made, and the images held out of it (both parts).

    `holdout` are those of classes, `more` those that were added to them since.
    """

    version: Version
    holdout: tuple[ManifestEntry, ...]
    captions: tuple[ManifestEntry, ...] = ()
    passed: bool = False  # whether a passing verdict has let the version go live
    more: tuple[ManifestEntry, ...] = ()
    added: SuiteId | None = None  # what has these


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
    zero_shot: list[ClassEvaluation] = []
    retrieval: list[RetrievalEvaluation] = []
    unlabelled = (unlabelled_evaluation(scored, learned, part) for scored in suites)
    for scored in suites:
        name = scored.suite.name
        match suite_query(scored, part):
            case RetrievalQuery() as query:
                retrieval.append(RetrievalEvaluation(name=name, own=query))
            case ClassQuery() as query:
                asked = replace(query, views=views, mirror=scored.suite.mirror)
                zero_shot.append(_class_evaluation(name, asked, learned))
    suites_asked: list[ClassEvaluation | RetrievalEvaluation] = [*zero_shot, *retrieval]
    captioned = _captioned_holdouts(line, candidate.version, part, can_answer)
    live_captioned = _captioned_holdouts(replaced, candidate.version, part, can_answer)
    kept = [one.exam for one in captioned if one.learner != candidate.version]
    kept += [one.exam for one in live_captioned]
    among = _all_of([*kept, *retrieval]) if kept else None
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
        retrieval=tuple(retrieval),
        unlabelled=tuple(one for one in unlabelled if one is not None),
        holdouts=_holdout_evaluations(line, candidate.version, of_suites, part, views, can_answer),
        live_holdouts=_holdout_evaluations(
            replaced, candidate.version, of_suites, part, views, can_answer
        ),
        captioned=_searched_among(among, captioned, candidate.version, policy),
        live_captioned=_searched_among(among, live_captioned, candidate.version, policy),
        settled=_settled_for(suites_asked, earlier, can_answer),
        live_settled=_settled_for(suites_asked, live.updates if live else (), can_answer),
        teachers=(*(update.version for update in earlier), *lost),
        lost=lost,
        calibration=_calibration_query(suites, (*earlier, candidate)),
        root_calibration=_calibration_query(suites),
    )


def in_prompt_of(version: Version, query: ClassQuery) -> ClassQuery:
    """Return a query in the prompt in which a version answers callers who send none."""
    return replace(query, prompt=version.prompt)


def suite_query(scored: ScoredSuite, part: Part) -> EvalQuery | None:
    """Return a suite's query on its images in one part; None if it has none with a text there."""
    suite, entries = scored.suite, entries_in(part, scored.manifest.entries)
    if not entries or suite.kind is SuiteKind.UNLABELLED:
        return None
    if suite.kind is SuiteKind.RETRIEVAL:
        return RetrievalQuery(entries=entries)
    return ClassQuery(entries=entries, classes=suite.classes, prompt=suite.prompt)


def unlabelled_evaluation(
    scored: ScoredSuite, learned: tuple[str, ...], part: Part = Part.TEST
) -> UnlabelledEvaluation | None:
    """Return the evaluation of an unlabelled suite; None of another, and for selection.

    Its labels are of test images, and nothing is chosen by them.
    """
    suite = scored.suite
    tests = entries_in(Part.TEST, scored.manifest.entries)
    entries = in_order(tests, scored.split, lineage_of(suite.id))
    if suite.kind is not SuiteKind.UNLABELLED or part is not Part.TEST or not entries:
        return None
    own = ClassQuery(entries=entries, classes=suite.classes, prompt=suite.prompt)
    return UnlabelledEvaluation(
        name=suite.name,
        own=own,
        union=replace(own, classes=_union(own.classes, learned)),
        labels=labelled_entries(entries, scored.labels),
    )


def holdout_name(learner: Version) -> str:
    """Return the name of the holdout of the update that made a version."""
    return f"version {learner.number}"


def captions_name(learner: Version) -> str:
    """Return the name of the captioned holdout of an update, of which a mixed one has two."""
    name = holdout_name(learner)
    return f"{name}, captions" if learner.update_classes else name


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


def _class_evaluation(
    name: str, own: ClassQuery, learned: tuple[str, ...], of_suites: tuple[str, ...] = ()
) -> ClassEvaluation:
    union = replace(own, classes=_union(own.classes, learned))
    with_suites = replace(union, classes=_union(union.classes, of_suites))
    return ClassEvaluation(name=name, own=own, union=union, with_suites=with_suites)


def _holdout_evaluations(
    updates: Sequence[HeldOutUpdate],
    candidate: Version,
    of_suites: tuple[str, ...],
    part: Part,
    views: int,
    can_answer: Callable[[Version, EvalQuery], bool],
) -> tuple[HoldoutEvaluation, ...]:
    """Return the evaluations of the holdouts; the updates may be of several lines, oldest first."""
    found = []
    for update in updates:
        learner, name = update.version, holdout_name(update.version)
        at_first = entries_in(part, update.holdout)
        entries = (*at_first, *entries_in(part, update.more))
        if entries:
            own = replace(holdout_query(learner, entries), views=views)
            settled = next(_passed(learner, updates, candidate), learner)
            exam = _class_evaluation(name, own, candidate.classes, of_suites)
            common: ClassEvaluation | None = exam
            if entries != at_first and not all(can_answer(one, own) for one in (learner, settled)):
                first = replace(holdout_query(learner, at_first), views=views)
                common = _class_evaluation(name, first, candidate.classes) if at_first else None
            found.append(
                HoldoutEvaluation(
                    learner=learner,
                    settled=settled,
                    exam=exam,
                    common=common,
                    added=update.added,
                    at_first=at_first,
                )
            )
    return _with_anchors(found, updates, candidate)


def _captioned_holdouts(
    updates: Sequence[HeldOutUpdate],
    candidate: Version,
    part: Part,
    can_answer: Callable[[Version, EvalQuery], bool],
) -> tuple[CaptionedHoldout, ...]:
    found = []
    for update in updates:
        learner, entries = update.version, entries_in(part, update.captions)
        if entries:
            own = RetrievalQuery(entries=entries)
            settled = [*_passed(learner, updates, candidate)] or [learner]
            found.append(
                CaptionedHoldout(
                    learner=learner,
                    settled=next((one for one in settled if can_answer(one, own)), None),
                    exam=RetrievalEvaluation(name=captions_name(learner), own=own),
                )
            )
    return tuple(found)


def _all_of(exams: Iterable[RetrievalEvaluation]) -> RetrievalQuery:
    """Return the query on all images of several; an image that is in several has all captions."""
    found: dict[Digest, ManifestEntry] = {}
    for entry in (entry for exam in exams for entry in exam.own.entries):
        texts = found.get(entry.pixels, entry).texts + entry.texts
        found[entry.pixels] = replace(entry, texts=tuple(dict.fromkeys(texts)))
    return RetrievalQuery(entries=tuple(found.values()))


def _searched_among(
    among: RetrievalQuery | None,
    holdouts: Sequence[CaptionedHoldout],
    candidate: Version,
    policy: GatePolicy,
) -> tuple[CaptionedHoldout, ...]:
    """Return the holdouts, small ones of other updates with the images they are searched among."""

    def searched(one: CaptionedHoldout) -> CaptionedHoldout:
        own = one.exam.own
        is_large = len({entry.group for entry in own.entries}) >= policy.minimum_count
        alone = among is None or len(among.entries) == len(own.entries)
        if one.learner == candidate or is_large or alone:
            return one
        return replace(one, exam=replace(one.exam, among=among))

    return tuple(map(searched, holdouts))


def _passed(
    learner: Version, updates: Sequence[HeldOutUpdate], candidate: Version
) -> Iterator[Version]:
    """Yield the versions after a learner that a passing verdict let go live, oldest first."""
    for one in _descendants(learner, updates):
        if one.passed and one.version != candidate:
            yield one.version


MOST_ANCHORS = 8  # further versions that an evaluation asks, each of which has to be loaded


def _with_anchors(
    found: Sequence[HoldoutEvaluation], updates: Sequence[HeldOutUpdate], candidate: Version
) -> tuple[HoldoutEvaluation, ...]:
    """Return the evaluations with their anchors: their settled versions, if these have weights.

    Of more than `MOST_ANCHORS` settled versions only every second is asked, or every fourth, and so
    on, and stands for those before it: what is lost between the two is seen by the other limits
    alone. As a line grows, these stay the same or become fewer.
    """
    earlier = [one for one in found if one.learner != candidate]
    asked = list({one.settled.number: one.settled for one in earlier}.values())
    asked = [one for one in asked if one.collected_at is None]
    while len(asked) > MOST_ANCHORS:
        asked = asked[::2]

    def anchor(one: HoldoutEvaluation) -> Version | None:
        later = {update.version.number for update in _descendants(one.settled, updates)}
        since = {one.settled.number, *later}
        return next((found for found in asked if found.number in since), None)

    return tuple(replace(one, anchor=anchor(one)) if one in earlier else one for one in found)


def _settled_for(
    suites: Iterable[ClassEvaluation | RetrievalEvaluation],
    updates: Iterable[HeldOutUpdate],
    can_answer: Callable[[Version, EvalQuery], bool],
) -> Mapping[str, tuple[Version, ...]]:
    """Return the versions that a passing verdict let go live and that can answer, by suite."""
    passed = [update.version for update in updates if update.passed]
    found: dict[str, tuple[Version, ...]] = {}
    for suite in suites:
        able = [version for version in passed if can_answer(version, suite.own)]
        while len(able) > MOST_ANCHORS:
            able = able[::2]
        if able:
            found[suite.name] = tuple(able)
    return found


def _descendants(version: Version, updates: Iterable[HeldOutUpdate]) -> Iterator[HeldOutUpdate]:
    line = {version.number}
    for one in updates:
        if one.version.parent in line:
            line.add(one.version.number)
            yield one


def _union(own: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    """Return `own` and those names of `more` whose prompts are not in `own`; case is ignored."""
    known = {name.lower() for name in own}
    return own + tuple(name for name in more if name.lower() not in known)
