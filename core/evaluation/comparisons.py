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
learned. On these both also choose from all learned classes alone, as a suite's own may hide what
these callers lose; there, settled versions are asked, too. Earlier holdouts with fewer images than
the policy's minimum are also compared together. A larger one shows by itself what it lost; among
the others it would hide their losses. So would, compared with the live version, what that one has
not learned and the candidate has: such holdouts are together apart from the others.

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

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import product

from core.evaluation.comparison import Comparison, Pairs, Roles, choices_of, with_each
from core.evaluation.exams import ClassExam, Exam, RetrievalExam
from core.evaluation.holdouts import CaptionedHoldout, ClassHoldout
from core.evaluation.plan import EvaluationPlan
from core.evaluation.pools import KNOWN, judged_mildly, pools_of, small_of
from core.evaluation.unlabelled import UnlabelledExam
from core.gate.kinds import DEPTHS, DIRECTIONS, LIVE, PARENT, ROOT, SETTLED, ClassList, MeasureKind
from core.registry.versions import Version


def comparisons(plan: EvaluationPlan) -> Iterator[Comparison]:
    """Yield the comparisons of suites, of other updates' holdouts, also pooled, and of the gain.

    The gain is last, that of captions first and that in the versions' own prompts last.
    """
    suites: list[Exam] = [*plan.zero_shot, *plan.unlabelled]
    for suite in suites:
        both = _over_both(_of_suite(plan, suite))
        learned = {ClassList.LEARNED: _among_learned(plan, suite)}
        over = {**both, ClassList.DEFAULT: _by_default(plan, suite), ClassList.LEARNED: {}}
        yield from with_each(plan, MeasureKind.ZERO_SHOT, over)
        yield from with_each(plan, MeasureKind.ZERO_SHOT, learned, pooled=learned)
        yield from _with_settled(plan, MeasureKind.ZERO_SHOT, suite)
        for pair in _settled_among_learned(plan, suite):
            learned = {ClassList.LEARNED: {SETTLED: (pair,)}}
            yield from with_each(plan, MeasureKind.ZERO_SHOT, learned, pooled=learned)
    for captioned in plan.retrieval:
        for kind, depth in product(DIRECTIONS, DEPTHS):
            roles = _over_both(_of_suite(plan, captioned))
            yield from with_each(plan, kind, roles, depth=depth)
            yield from _with_settled(plan, kind, captioned, depth)
    yield from _with_captioned_holdouts(plan)
    yield from _with_class_holdouts(plan)
    yield from _own_beside_live(plan)
    yield from _own_among_others(plan)
    for own in (one for one in (plan.own_captions, plan.own) if one is not None):
        gain = _over_both({PARENT: ((own.exam, plan.parent),)})
        for depth in DEPTHS if own is plan.own_captions else (1,):
            yield from with_each(plan, MeasureKind.GAIN, gain, depth=depth)


def _with_captioned_holdouts(plan: EvaluationPlan) -> Iterator[Comparison]:
    """Yield the comparisons of each captioned holdout, of small ones together, and the smallest."""
    for alone in (False, True):
        small = partial(_small_captioned_ones, plan, alone)
        pools = [[*pools_of(partial(small, known))] for known in KNOWN]
        pooled = judged_mildly(small)
        for kind, depth in product(DIRECTIONS, DEPTHS):
            for held_out in plan.kept_captions:
                roles = _over_both(_of_captions(plan, [held_out], alone=alone))
                yield from with_each(plan, kind, roles, pooled=pooled, depth=depth)
            for several, *tiny in pools:
                yield from with_each(plan, kind, several, depth=depth)
                for smallest in tiny if depth == 1 else ():
                    yield from with_each(plan, kind, smallest, pooled=pooled)


def _with_class_holdouts(plan: EvaluationPlan) -> Iterator[Comparison]:
    """Yield the comparisons of each holdout, of small ones together, and of the smallest."""
    small = partial(_small_ones, plan)
    pools, pooled = [pools_of(partial(small, known)) for known in KNOWN], judged_mildly(small)
    for holdout in plan.kept:
        roles = {asked: _of_holdouts(plan, [holdout], asked) for asked in ClassList}
        yield from with_each(plan, MeasureKind.HOLDOUT, roles, pooled=pooled)
    for several, *tiny in pools:
        yield from with_each(plan, MeasureKind.HOLDOUTS, several)
        for smallest in tiny:
            yield from with_each(plan, MeasureKind.HOLDOUTS, smallest, pooled=pooled)


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
                yield from with_each(plan, kind, roles, pooled=roles, depth=depth)
        else:
            yield from with_each(plan, MeasureKind.HOLDOUT, roles, pooled=roles)


def _own_among_others(plan: EvaluationPlan) -> Iterator[Comparison]:
    """Yield the comparisons of the own captions among the images of all others.

    An update may find more among its own images, and none of these where callers search.
    """
    if (own := plan.own_captions) is None:
        return
    live = {} if plan.live is None else {LIVE: ((own.exam, plan.live),)}
    roles: Roles = {ClassList.UNION: {PARENT: ((own.exam, plan.parent),), **live}}
    for kind, depth in product(DIRECTIONS, DEPTHS):
        yield from with_each(plan, kind, roles, pooled=roles, depth=depth)


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


def _among_learned(plan: EvaluationPlan, suite: Exam) -> Mapping[str, Pairs]:
    """Return the pairs of each role over learned classes alone, where a suite has other ones.

    They are judged as mildly as a small holdout beside its pool: a suite may show a learned class
    with a single image.
    """
    return {
        role: pairs
        for role, pairs in _by_default(plan, suite).items()
        if any(_is_among_fewer(exam, suite) for exam, _ in pairs)
    }


def _settled_among_learned(
    plan: EvaluationPlan, suite: Exam
) -> Iterator[tuple[ClassExam, Version]]:
    for settled, exams in plan.settled_learned:
        yield from (
            (exam, settled)
            for exam in exams
            if exam.name == suite.name and _is_among_fewer(exam, suite)
        )


def _is_among_fewer(learned: Exam, suite: Exam) -> bool:
    """Return whether learned classes alone are another question than all that a suite asks."""
    return learned.over(ClassList.LEARNED).digest != suite.over(ClassList.UNION).digest


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
        yield from (one for one in with_each(plan, kind, roles, depth=depth) if not one.own_prompts)


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


def _small_captioned_ones(
    plan: EvaluationPlan, alone: bool, known: bool, most: int | None = None
) -> Roles:
    """Return the pairs of each role that have few images, in the galleries judged first or not."""
    found = _of_captions(plan, plan.kept_captions, alone=alone)
    return _over_both(small_of(plan, found, most, known=known, has_choice=_has_captions_to_choose))


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


def _small_ones(plan: EvaluationPlan, known: bool, most: int | None = None) -> Roles:
    """Return the pairs of each role that have few images.

    That are fewer than the policy's minimum, and than `most` if that is less. One without a choice
    is left out: every version is right about it, so it would hide losses.
    """

    def together(asked: ClassList) -> Mapping[str, Pairs]:
        def has_choice(exam: Exam) -> bool:
            return choices_of(exam, asked, plan.policy.meanings) != 1

        found = _of_holdouts(plan, plan.kept, asked)
        return small_of(plan, found, most, known=known, has_choice=has_choice)

    return {asked: together(asked) for asked in ClassList}
