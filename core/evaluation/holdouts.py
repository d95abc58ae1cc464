"""Holdouts of updates, and the settled versions that they are compared with."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from core.datasets.manifests import ManifestEntry, Part
from core.evaluation.exams import ClassExam, RetrievalExam, class_exam, entries_in
from core.evaluation.queries import ClassQuery, EvalQuery, RetrievalQuery
from core.evaluation.unlabelled import UnlabelledExam
from core.gate.kinds import ClassList
from core.gate.rules import GatePolicy
from core.registry.versions import Version
from core.values import Digest, SuiteId


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
class ClassHoldout:
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
    exam: ClassExam
    common: ClassExam | None  # on what learner and settled version can answer about
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
    exam: RetrievalExam


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


def class_holdouts(
    updates: Sequence[HeldOutUpdate],
    candidate: Version,
    of_suites: tuple[str, ...],
    part: Part,
    views: int,
    can_answer: Callable[[Version, EvalQuery], bool],
) -> tuple[ClassHoldout, ...]:
    """Return the holdouts with their exams; the updates may be of several lines, oldest first."""
    found = []
    for update in updates:
        learner, name = update.version, holdout_name(update.version)
        at_first = entries_in(part, update.holdout)
        entries = (*at_first, *entries_in(part, update.more))
        if entries:
            own = replace(holdout_query(learner, entries), views=views)
            settled = next(_passed(learner, updates, candidate), learner)
            exam = class_exam(name, own, candidate.classes, of_suites)
            common: ClassExam | None = exam
            if entries != at_first and not all(can_answer(one, own) for one in (learner, settled)):
                first = replace(holdout_query(learner, at_first), views=views)
                common = class_exam(name, first, candidate.classes) if at_first else None
            found.append(
                ClassHoldout(
                    learner=learner,
                    settled=settled,
                    exam=exam,
                    common=common,
                    added=update.added,
                    at_first=at_first,
                )
            )
    return _with_anchors(found, updates, candidate)


def captioned_holdouts(
    updates: Sequence[HeldOutUpdate],
    candidate: Version,
    part: Part,
    can_answer: Callable[[Version, EvalQuery], bool],
) -> tuple[CaptionedHoldout, ...]:
    """Return the captioned holdouts, each in its own gallery; `updates` as in `class_holdouts`."""
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
                    exam=RetrievalExam(name=captions_name(learner), own=own),
                )
            )
    return tuple(found)


def gallery_of(queries: Iterable[RetrievalQuery]) -> RetrievalQuery:
    """Return the query on all images; one that is in several queries has all its captions."""
    found: dict[Digest, ManifestEntry] = {}
    for entry in (entry for query in queries for entry in query.entries):
        texts = found.get(entry.pixels, entry).texts + entry.texts
        found[entry.pixels] = replace(entry, texts=tuple(dict.fromkeys(texts)))
    return RetrievalQuery(entries=tuple(found.values()))


def searched_among(
    among: RetrievalQuery | None,
    holdouts: Sequence[CaptionedHoldout],
    candidate: Version,
    policy: GatePolicy,
) -> tuple[CaptionedHoldout, ...]:
    """Return the holdouts; small ones of other updates are searched for among more images."""

    def searched(one: CaptionedHoldout) -> CaptionedHoldout:
        own = one.exam.own
        is_large = len({entry.group for entry in own.entries}) >= policy.minimum_count
        alone = among is None or len(among.entries) == len(own.entries)
        if one.learner == candidate or is_large or alone:
            return one
        return replace(one, exam=replace(one.exam, among=among))

    return tuple(map(searched, holdouts))


def gallery_of_all(
    captioned: Iterable[RetrievalExam], others: Iterable[ClassExam | UnlabelledExam]
) -> RetrievalQuery:
    """Return the query on all captioned images and on those of others, which have no caption."""
    of_classes = (
        RetrievalQuery(entries=tuple(replace(entry, texts=()) for entry in one.own.entries))
        for one in others
    )
    return gallery_of([*(exam.own for exam in captioned), *of_classes])


def among_all(exam: RetrievalExam, whole: RetrievalQuery) -> RetrievalExam:
    """Return an exam that is also searched in the gallery of all, if that has more images."""
    more = len(whole.entries) > len(exam.over(ClassList.OWN).entries)
    return replace(exam, union=whole) if more else exam


def _passed(
    learner: Version, updates: Sequence[HeldOutUpdate], candidate: Version
) -> Iterator[Version]:
    """Yield the versions after a learner that a passing verdict let go live, oldest first."""
    for one in _descendants(learner, updates):
        if one.passed and one.version != candidate:
            yield one.version


MOST_ANCHORS = 8  # further versions that an evaluation asks, each of which has to be loaded


def _with_anchors(
    found: Sequence[ClassHoldout], updates: Sequence[HeldOutUpdate], candidate: Version
) -> tuple[ClassHoldout, ...]:
    """Return the holdouts with their anchors: their settled versions, if these have weights.

    Of more than `MOST_ANCHORS` settled versions only every second is asked, or every fourth, and so
    on, and stands for those before it: what is lost between the two is seen by the other limits
    alone. As a line grows, these stay the same or become fewer.
    """
    earlier = [one for one in found if one.learner != candidate]
    asked = list({one.settled.number: one.settled for one in earlier}.values())
    asked = [one for one in asked if one.collected_at is None]
    while len(asked) > MOST_ANCHORS:
        asked = asked[::2]

    def anchor(one: ClassHoldout) -> Version | None:
        later = {update.version.number for update in _descendants(one.settled, updates)}
        since = {one.settled.number, *later}
        return next((found for found in asked if found.number in since), None)

    return tuple(replace(one, anchor=anchor(one)) if one in earlier else one for one in found)


def settled_by_suite(
    suites: Iterable[ClassExam | RetrievalExam],
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
