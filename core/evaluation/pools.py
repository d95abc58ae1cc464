"""Small holdouts that are compared together: each shows too little by itself."""

from collections.abc import Callable, Iterator, Mapping

from core.evaluation.comparison import Pairs, Roles
from core.evaluation.exams import Exam
from core.evaluation.plan import EvaluationPlan
from core.gate.kinds import LIVE

# Holdouts that are judged together: those that the live version has learned, then the others.
KNOWN = (True, False)

# Of small holdouts, those with fewer images are also compared together: alone, next to nothing is
# asked of one, and larger ones hide what all of them have lost.
TINY = (88, 22)


def pools_of(small: Callable[..., Roles]) -> Iterator[Roles]:
    """Yield the pairs of small holdouts together, then of the smallest, where these are fewer."""
    larger = _several(small())
    yield larger
    for most in TINY:
        smallest = _several(small(most))
        yield {asked: _other_than(larger[asked], roles) for asked, roles in smallest.items()}
        larger = smallest


def judged_mildly(small: Callable[[bool], Roles]) -> Roles:
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


def small_of(
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
