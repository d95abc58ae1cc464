"""The comparisons that a plan asks for: on which images, and with which version.

A candidate is compared with the versions that it may replace, its parent and the live version, by
the limits of one update; and, wider, with versions further back, so that small losses do not add up
unseen: suites with the root and settled versions, an earlier holdout with its settled version. The
live version is asked about updates, too, that it has not learned: what it is right about is lost to
callers all the same, whichever version between has lost it, and about what the candidate was taught
itself. Over the classes of its time, a suite or holdout shows what was forgotten. With all classes
that the candidate has learned to choose from, it shows what newer classes swallow, and holdouts
with those of the model's zero-shot suites, too, what callers get who ask with everything. Both
versions choose from the same list there. Over their default lists each chooses from what it has
learned itself, as for callers who send none; of suites, on images of what the other version has
learned. Earlier holdouts with fewer images than the policy's
minimum are also compared together. A larger one shows by itself what it lost; among the others it
would hide their losses. So would, compared with the live version, what that one has not learned and
the candidate has: such holdouts are together apart from the others.

Captions have no class lists: an update's holdout is asked as a suite is, in both directions, and
the gain counts the answers of both. R@1 is compared, and then R@5, which can only fail a version.
An update of classes and captions has a gain of each. A holdout with fewer images than the policy's
minimum is searched for twice: among all captioned images, as few are an easy question, and in its
own gallery, as a later update may bring images there that every version finds first. Several of
these are compared together, too, in either. A settled version that is neither parent nor live has
answered about the holdout alone.

Callers who send no prompt get that of the version. Where that is not the one in which a suite or
holdout asks, of the candidate or of the version that it is compared with, both are asked once more,
each in its own prompt. Of the gain that also holds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

from core.evaluation.exams import (
    ClassExam,
    Exam,
    RetrievalExam,
    in_own_gallery,
    in_prompt_of,
    without_gallery,
)
from core.evaluation.holdouts import CaptionedHoldout, ClassHoldout
from core.evaluation.plan import EvaluationPlan
from core.evaluation.queries import ClassQuery
from core.evaluation.unlabelled import UnlabelledExam
from core.gate.kinds import DEPTHS, DIRECTIONS, LIVE, PARENT, ROOT, SETTLED, ClassList, MeasureKind
from core.registry.versions import Version

Pairs = tuple[tuple[Exam, Version], ...]
Roles = Mapping[ClassList, Mapping[str, Pairs]]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A comparison of the candidate with a baseline, on the images of one or several exams.

    `pairs` are the exams, each with the version that the candidate is compared with on it:
    the same for all, but for settled versions.
    """

    kind: MeasureKind
    asked: ClassList
    name: str  # a suite, "version 2" (its update's holdout) or "3 updates" (their holdouts)
    baseline: str  # its roles, such as "parent", "live version and root" or "settled version"
    tolerance: float
    pairs: Pairs
    pooled: bool  # whether another comparison is of these images, too: with others, or the gain
    may_guard: bool  # whether it tells of what a promotion replaces
    own_prompts: bool = False  # each version is asked in its own
    depth: int = 1  # of captions: how many that are found first count

    @property
    def is_of_captions(self) -> bool:
        """True if it is about searches among images and their captions."""
        return isinstance(self.pairs[0][0], RetrievalExam)

    @property
    def is_of_holdouts(self) -> bool:
        """True if it is about classes of one or several holdouts, and not the gain."""
        return self.kind in {MeasureKind.HOLDOUT, MeasureKind.HOLDOUTS}

    @property
    def directions(self) -> tuple[MeasureKind, ...]:
        """The directions of these searches that count: both for the gain."""
        return DIRECTIONS if self.kind is MeasureKind.GAIN else (self.kind,)

    @property
    def images(self) -> int:
        """The number of images; one in several holdouts counts once."""
        return len({entry.pixels for exam, _ in self.pairs for entry in exam.own.entries})

    def query(self, exam: ClassExam | UnlabelledExam, version: Version) -> ClassQuery:
        """Return what a version is asked on the images of an exam."""
        query = exam.over(self.asked)
        if self.asked is ClassList.DEFAULT and isinstance(exam, ClassExam):
            query = exam.by_default(version)
        return in_prompt_of(version, query) if self.own_prompts else query

    def choices(self, meanings: Mapping[str, str]) -> int | None:
        """Return the number of classes to choose from; None for captions, or if holdouts differ."""
        lists = {_choices(exam, self.asked, meanings) for exam, _ in self.pairs}
        return lists.pop() if len(lists) == 1 else None

    @property
    def version(self) -> int | None:
        """The number of the baseline's version; None if each holdout has its own."""
        numbers = {version.number for _, version in self.pairs}
        return numbers.pop() if len(numbers) == 1 else None

    @property
    def is_cumulative(self) -> bool:
        """True if the loss may be of several updates: against the root or a settled version.

        Not if that is also the parent or the live version, as the loss is then the candidate's own.
        """
        return self.baseline in {ROOT, SETTLED}


def comparisons(plan: EvaluationPlan) -> Iterator[Comparison]:
    """Yield the comparisons of suites, of other updates' holdouts, also pooled, and of the gain.

    The gain is last, that of captions first and that in the versions' own prompts last.
    """
    suites: list[Exam] = [*plan.zero_shot, *plan.unlabelled]
    for suite in suites:
        both = _over_both(_of_suite(plan, suite))
        over = {**both, ClassList.DEFAULT: _by_default(plan, suite)}
        yield from _with_each(plan, MeasureKind.ZERO_SHOT, over)
        yield from _with_settled(plan, MeasureKind.ZERO_SHOT, suite)
    for captioned in plan.retrieval:
        for kind, depth in product(DIRECTIONS, DEPTHS):
            roles = _over_both(_of_suite(plan, captioned))
            yield from _with_each(plan, kind, roles, depth=depth)
            yield from _with_settled(plan, kind, captioned, depth)
    yield from _with_captioned_holdouts(plan)
    yield from _with_class_holdouts(plan)
    yield from _own_beside_live(plan)
    yield from _own_among_others(plan)
    for own in (one for one in (plan.own_captions, plan.own) if one is not None):
        gain = _over_both({PARENT: ((own.exam, plan.parent),)})
        for depth in DEPTHS if own is plan.own_captions else (1,):
            yield from _with_each(plan, MeasureKind.GAIN, gain, depth=depth)


def _with_captioned_holdouts(plan: EvaluationPlan) -> Iterator[Comparison]:
    """Yield the comparisons of each captioned holdout, of small ones together, and the smallest."""
    for alone in (False, True):
        small = partial(_small_captioned_ones, plan, alone)
        pools = [[*_pools(partial(small, known))] for known in _KNOWN]
        pooled = _judged_mildly(small)
        for kind, depth in product(DIRECTIONS, DEPTHS):
            for held_out in plan.kept_captions:
                roles = _over_both(_of_captions(plan, [held_out], alone=alone))
                yield from _with_each(plan, kind, roles, pooled=pooled, depth=depth)
            for several, *tiny in pools:
                yield from _with_each(plan, kind, several, depth=depth)
                for smallest in tiny if depth == 1 else ():
                    yield from _with_each(plan, kind, smallest, pooled=pooled)


def _with_class_holdouts(plan: EvaluationPlan) -> Iterator[Comparison]:
    """Yield the comparisons of each holdout, of small ones together, and of the smallest."""
    small = partial(_small_ones, plan)
    pools, pooled = [_pools(partial(small, known)) for known in _KNOWN], _judged_mildly(small)
    for holdout in plan.kept:
        roles = {asked: _of_holdouts(plan, [holdout], asked) for asked in ClassList}
        yield from _with_each(plan, MeasureKind.HOLDOUT, roles, pooled=pooled)
    for several, *tiny in pools:
        yield from _with_each(plan, MeasureKind.HOLDOUTS, several)
        for smallest in tiny:
            yield from _with_each(plan, MeasureKind.HOLDOUTS, smallest, pooled=pooled)


def _own_beside_live(plan: EvaluationPlan) -> Iterator[Comparison]:
    """Yield the comparison of the own holdout with a live version that is not the parent.

    Callers would lose there what that version is right about, wherever the candidate comes from.
    The gain is of the same images, so they are judged as those of a holdout beside its pool.
    """
    if plan.live is None or plan.live.digest == plan.parent.digest:
        return
    for own in (one for one in (plan.own_captions, plan.own) if one is not None):
        roles = {ClassList.OWN: {LIVE: ((own.exam, plan.live),)}}
        if own is plan.own_captions:
            for kind, depth in product(DIRECTIONS, DEPTHS):
                yield from _with_each(plan, kind, roles, pooled=roles, depth=depth)
        else:
            yield from _with_each(plan, MeasureKind.HOLDOUT, roles, pooled=roles)


def _own_among_others(plan: EvaluationPlan) -> Iterator[Comparison]:
    """Yield the comparisons of the own captions among the images of all others.

    An update may find more among its own images, and none of these where callers search.
    """
    if (own := plan.own_captions) is None:
        return
    live = {} if plan.live is None else {LIVE: ((own.exam, plan.live),)}
    roles: Roles = {ClassList.UNION: {PARENT: ((own.exam, plan.parent),), **live}}
    for kind in DIRECTIONS:
        yield from _with_each(plan, kind, roles, pooled=roles)


def _over_both(roles: Mapping[str, Pairs]) -> Roles:
    return dict.fromkeys(ClassList, roles)


def _of_suite(plan: EvaluationPlan, suite: Exam) -> Mapping[str, Pairs]:
    live = {} if plan.live is None else {LIVE: ((suite, plan.live),)}
    return {PARENT: ((suite, plan.parent),), **live, ROOT: ((suite, plan.root),)}


def _by_default(plan: EvaluationPlan, suite: Exam) -> Mapping[str, Pairs]:
    return {
        role: ((learned, version),)
        for role, version, suites in plan.by_default
        for learned in suites
        if learned.name == suite.name
    }


def _with_settled(
    plan: EvaluationPlan, kind: MeasureKind, suite: Exam, depth: int = 1
) -> Iterator[Comparison]:
    """Yield the comparisons of a suite with settled versions, as by their stored answers.

    They answered over the suite's own list and in its prompt when they were candidates.
    """
    if isinstance(suite, UnlabelledExam):
        return
    for version in plan.settled_for(suite.name):
        roles = {ClassList.OWN: {SETTLED: ((suite, version),)}}
        yield from (
            one for one in _with_each(plan, kind, roles, depth=depth) if not one.own_prompts
        )


def _of_captions(
    plan: EvaluationPlan, holdouts: Sequence[CaptionedHoldout], *, alone: bool
) -> Mapping[str, Pairs]:
    """Return the pairs of each role: all in the galleries that are judged first, or the second.

    The second are the own galleries of those that are searched for among others first.
    """
    live = plan.live
    found: dict[str, list[tuple[Exam, Version]]] = {PARENT: [], LIVE: [], SETTLED: []}
    for one in holdouts:
        if alone and one.exam.among is None:
            continue
        exam = one.exam.alone if alone else one.exam
        asked = [live] if live else []
        if one in plan.earlier_captions:
            found[PARENT].append((exam, plan.parent))
            asked.append(plan.parent)
        if live:
            found[LIVE].append((exam, live))
        if one.settled:
            answers = one.settled.digest in {version.digest for version in asked}
            if answers or exam.among is None:
                found[SETTLED].append((exam, one.settled))
    return {role: tuple(pairs) for role, pairs in found.items() if pairs}


# Holdouts that are judged together: those that the live version has learned, then the others.
_KNOWN = (True, False)


def _small_captioned_ones(
    plan: EvaluationPlan, alone: bool, known: bool, most: int | None = None
) -> Roles:
    """Return the pairs of each role that have few images, in the galleries judged first or not."""
    found = _of_captions(plan, plan.kept_captions, alone=alone)
    return _over_both(_small(plan, found, most, known=known, has_choice=_has_captions_to_choose))


def _has_captions_to_choose(exam: Exam) -> bool:
    found = exam.over(ClassList.OWN).entries if isinstance(exam, RetrievalExam) else ()
    return len({text for entry in found for text in entry.texts}) > 1


def _of_holdouts(
    plan: EvaluationPlan, holdouts: Sequence[ClassHoldout], asked: ClassList
) -> Mapping[str, Pairs]:
    """Return the pairs of each role, without holdouts whose classes the role has not learned."""
    live, known = plan.live, plan.live_lineage
    own = asked is ClassList.OWN
    settled = ((h.common, h.settled) if own else (h.exam, h.anchor) for h in holdouts)
    return {
        PARENT: tuple((h.exam, plan.parent) for h in holdouts if h in plan.earlier),
        LIVE: tuple(
            (h.exam, live)
            for h in holdouts
            if live and (h.learner.number in known or asked is not ClassList.DEFAULT)
        ),
        SETTLED: tuple((exam, version) for exam, version in settled if exam and version),
    }


def _choices(exam: Exam, asked: ClassList, meanings: Mapping[str, str]) -> int | None:
    query = exam.over(asked)
    return query.choices(meanings) if isinstance(query, ClassQuery) else None


# Of small holdouts, those with fewer images are also compared together: alone, next to nothing is
# asked of one, and larger ones hide what all of them have lost.
TINY = (88, 22)


def _pools(small: Callable[..., Roles]) -> Iterator[Roles]:
    """Yield the pairs of small holdouts together, then of the smallest, where these are fewer."""
    larger = _several(small())
    yield larger
    for most in TINY:
        smallest = _several(small(most))
        yield {asked: _other_than(larger[asked], roles) for asked, roles in smallest.items()}
        larger = smallest


def _judged_mildly(small: Callable[[bool], Roles]) -> Roles:
    """Return the pairs of small holdouts that are judged mildly when each is alone.

    Together they show what each lost. Of what the live version has not learned it is asked as of
    the candidate's own holdout.
    """
    known, others = _several(small(True)), small(False)
    return {
        asked: {**roles, LIVE: (*roles.get(LIVE, ()), *others[asked].get(LIVE, ()))}
        for asked, roles in known.items()
    }


def _several(small: Roles) -> Roles:
    return {
        asked: {role: pairs for role, pairs in roles.items() if len(pairs) > 1}
        for asked, roles in small.items()
    }


def _other_than(larger: Mapping[str, Pairs], roles: Mapping[str, Pairs]) -> Mapping[str, Pairs]:
    return {role: pairs for role, pairs in roles.items() if pairs != larger.get(role)}


def _small_ones(plan: EvaluationPlan, known: bool, most: int | None = None) -> Roles:
    """Return the pairs of each role that have few images.

    That are fewer than the policy's minimum, and than `most` if that is less. One without a choice
    is left out: every version is right about it, so it would hide losses.
    """

    def together(asked: ClassList) -> Mapping[str, Pairs]:
        def has_choice(exam: Exam) -> bool:
            return _choices(exam, asked, plan.policy.meanings) != 1

        found = _of_holdouts(plan, plan.kept, asked)
        return _small(plan, found, most, known=known, has_choice=has_choice)

    return {asked: together(asked) for asked in ClassList}


def _small(
    plan: EvaluationPlan,
    found: Mapping[str, Pairs],
    most: int | None,
    *,
    known: bool,
    has_choice: Callable[[Exam], bool],
) -> Mapping[str, Pairs]:
    """Return the small ones of each role; if not `known`, those that the live version lacks."""
    least = min(most or plan.policy.minimum_count, plan.policy.minimum_count)
    return {
        role: tuple(
            (exam, version)
            for exam, version in pairs
            if len({entry.group for entry in exam.own.entries}) < least and has_choice(exam)
            if role != LIVE or (plan.learners_of([exam]) <= plan.live_lineage) is known
        )
        for role, pairs in found.items()
        if known or role == LIVE
    }


def _with_each(
    plan: EvaluationPlan,
    kind: MeasureKind,
    over: Roles,
    *,
    pooled: Roles | None = None,
    depth: int = 1,
) -> Iterator[Comparison]:
    """Yield the comparisons with the versions of each role, over each list that there is.

    If one of the versions has another prompt than the query, a second one follows, but of captions,
    which are asked in none. Roles that the same version has are one baseline, with the smallest of
    their tolerances. The live version is named where it is not the parent, which has the same
    tolerances.
    """
    for asked, roles in over.items():
        tolerances = plan.policy.tolerances(kind, asked, depth)
        found: dict[tuple[tuple[str, str], ...], list[str]] = {}
        for role, pairs in roles.items():
            if role in tolerances and _has_list(pairs, asked):
                key = tuple((exam.name, version.digest) for exam, version in pairs)
                found.setdefault(key, []).append(role)
        for same in found.values():
            pairs = roles[same[0]]
            in_pool = pooled is not None and all(
                one in pooled[asked].get(role, ()) for role in same for one in roles[role]
            )
            compared = Comparison(
                kind=kind,
                asked=asked,
                name=_name(plan, pairs),
                baseline=" and ".join(role for role in same if role != LIVE or PARENT not in same),
                tolerance=min(tolerances[role] for role in same),
                pairs=pairs,
                pooled=in_pool,
                may_guard=_tells_of_replaced(plan, same, pairs),
                depth=depth,
            )
            yield compared
            if any(_answers_in_others(plan.candidate, *pair) for pair in pairs):
                yield replace(compared, own_prompts=True)


def _tells_of_replaced(plan: EvaluationPlan, roles: Sequence[str], pairs: Pairs) -> bool:
    """Return whether a comparison tells of what a promotion replaces: others are no guards.

    Where the live version is not the parent, the one with the parent, or on what the live version
    has not learned, tells of versions that may never have been promoted: whoever trains one on many
    easy images would bring the guard for the next.
    """
    if plan.live is None or plan.live.digest == plan.parent.digest:
        return True
    learners = plan.learners_of(exam for exam, _ in pairs)
    return not {LIVE, ROOT}.isdisjoint(roles) and learners <= plan.live_lineage


def _answers_in_others(candidate: Version, exam: Exam, version: Version) -> bool:
    """Return whether callers who send no prompt get other answers than those that are compared."""
    if isinstance(exam, RetrievalExam):
        return False
    return {candidate.prompt, version.prompt} != {exam.own.prompt}


def _has_list(pairs: Pairs, asked: ClassList) -> bool:
    """Return whether a list is one of its own: not where it has no other classes."""
    if asked is ClassList.DEFAULT:
        exams = ((exam, version) for exam, version in pairs if isinstance(exam, ClassExam))
        return any(exam.by_default(version).digest != exam.union.digest for exam, version in exams)
    own = asked is ClassList.OWN
    lists = ((exam.over(asked), exam.over(asked.shorter)) for exam, _ in pairs)
    return any(own or longer.digest != shorter.digest for longer, shorter in lists)


def _name(plan: EvaluationPlan, pairs: Pairs) -> str:
    (first, _), *others = pairs
    if not others:
        return first.name
    kept: Sequence[ClassHoldout | CaptionedHoldout] = plan.kept
    earlier: Sequence[ClassHoldout | CaptionedHoldout] = plan.earlier
    name = f"{len(pairs)} updates"
    if isinstance(first, RetrievalExam):
        kept, earlier = plan.kept_captions, plan.earlier_captions
        name = f"{len(pairs)} captioned updates"
    exams, versions = zip(*pairs, strict=True)
    names = {without_gallery(exam.name) for exam in exams}
    if not names <= {one.exam.name for one in earlier}:
        live = {one.exam.name for one in kept if one.learner.number in plan.live_lineage}
        name += f" of {'the live version' if names <= live else 'both lines'}"
    elif plan.live in versions and plan.learners_of(exams).isdisjoint(plan.live_lineage):
        name += " of this line"
    return in_own_gallery(name) if without_gallery(first.name) != first.name else name
