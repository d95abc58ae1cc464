"""A comparison of a candidate with another version, and those that a list of roles gives."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

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
from core.gate.kinds import DIRECTIONS, LIVE, PARENT, ROOT, SETTLED, SUITES, ClassList, MeasureKind
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
        lists = {choices_of(exam, self.asked, meanings) for exam, _ in self.pairs}
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


def choices_of(exam: Exam, asked: ClassList, meanings: Mapping[str, str]) -> int | None:
    """Return the number of classes that an exam gives to choose from; None for captions."""
    query = exam.over(asked)
    return query.choices(meanings) if isinstance(query, ClassQuery) else None


def with_each(
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
            if role in tolerances and _has_list(kind, pairs, asked):
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
                name=name_of(plan, pairs),
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


def _has_list(kind: MeasureKind, pairs: Pairs, asked: ClassList) -> bool:
    """Return whether a list is one of its own: not where it has no other classes.

    By default the classes of a suite are left out, which are in its other lists.
    """
    if asked in {ClassList.DEFAULT, ClassList.LEARNED} and kind in SUITES:
        return True
    if asked is ClassList.DEFAULT:
        exams = ((exam, version) for exam, version in pairs if isinstance(exam, ClassExam))
        return any(exam.by_default(version).digest != exam.union.digest for exam, version in exams)
    own = asked is ClassList.OWN
    lists = ((exam.over(asked), exam.over(asked.shorter)) for exam, _ in pairs)
    return any(own or longer.digest != shorter.digest for longer, shorter in lists)


def name_of(plan: EvaluationPlan, pairs: Pairs) -> str:
    """Return the name of an exam, or of several together, by whose updates they are."""
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
