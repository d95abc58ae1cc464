"""The judgement on a candidate where the live version has lost more than is allowed."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from core.datasets.rules import SuiteKind
from core.evaluation.holdouts import HeldOutUpdate
from core.evaluation.judge import verdicts_beside
from core.evaluation.judge_again import judge_again
from core.evaluation.plan import EvaluationPlan, LiveLineage
from core.evaluation.queries import ClassQuery, EvalQuery
from core.evaluation.report import Report
from core.gate.guards import is_guard
from core.gate.kinds import MeasureKind, Outcome
from core.gate.rules import Verdict
from core.registry.versions import Version
from tests.support.evaluation.evaluations import (
    EARLIER,
    FIRST,
    ROOT,
    SECOND,
    answered,
    entries,
    live_line,
    policy,
    report_of,
    second_update,
    suite,
    taught,
    third_update,
)
from tests.support.factories import digest

Right = Callable[[Version, EvalQuery, int], bool]


def wrong_on_emoji(**shares: int) -> Right:
    """All answers right, but on the suite emoji the first images of ten of each version."""
    of_ten = {
        ROOT.number: 0,
        FIRST.number: shares.get("parent", shares["live"]),
        SECOND.number: shares["candidate"],
        9: shares["live"],
    }

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        if isinstance(question, ClassQuery) and len(question.entries) == 40:
            return index % 10 >= of_ten[who.number]
        return who.number >= 3 or not (
            isinstance(question, ClassQuery) and "boot" in question.classes
        )

    return right


EMOJI = second_update().zero_shot[0].own.entries

LIMITS = {"parent_tolerance": 0.2, "root_tolerance": 0.2, "settled_tolerance": 0.3}


def beside_first(live: Version | None = FIRST, **limits: float) -> EvaluationPlan:
    """Version 3, which version 2 is the parent of, is to replace the live version."""
    return second_update(
        suites=[suite("emoji", EMOJI, SuiteKind.ZERO_SHOT)],
        policy=policy(**{**LIMITS, "holdout_tolerance": 0.5, "union_tolerance": 0.9, **limits}),
        live=live
        and LiveLineage(version=live, lineage=frozenset(range(1, live.number + 1)), updates=()),
    )


def against_root(report: Report) -> Outcome:
    asked = ("emoji", "root", "own")
    (found,) = (m for m in report.measures if (m.name, m.baseline, m.asked.value) == asked)
    return found.outcome


def test_a_loss_that_the_live_version_has_fails_nobody_and_lets_nobody_pass() -> None:
    report = report_of(beside_first(), wrong_on_emoji(live=4, candidate=4))
    assert (against_root(report), report.verdict) == (Outcome.OPEN, Verdict.INCONCLUSIVE)
    (said,) = (reason for reason in report.reasons if "live version itself" in reason)
    assert said == (
        "The live version itself has lost more than the limits allow: top-1 on emoji against the "
        "root \u221240.0 points, where 20.0 may be lost. This version does not fail for that, but "
        "none passes by itself until it is regained: roll back to a version from before the loss, "
        "teach again what was lost, or let a person promote this version with a reason."
    )
    assert "the live version itself has lost more" in report.summary.go_live


def test_what_a_candidate_adds_to_the_loss_still_fails_it() -> None:
    report = report_of(beside_first(), wrong_on_emoji(live=4, candidate=10))
    assert report.verdict is Verdict.FAILED
    (found,) = (m for m in report.measures if m.outcome is Outcome.FAILS)
    assert (found.name, found.baseline) == ("emoji", "parent")
    assert any("live version itself" in reason for reason in report.reasons)


def test_who_regains_what_was_lost_passes() -> None:
    report = report_of(beside_first(), wrong_on_emoji(live=4, candidate=0))
    assert (against_root(report), report.verdict) == (Outcome.HOLDS, Verdict.PASSED)
    assert not any("live version itself" in reason for reason in report.reasons)


def test_a_loss_within_the_limit_excuses_nothing() -> None:
    plan = beside_first(root_tolerance=0.45, parent_tolerance=0.9)
    report = report_of(plan, wrong_on_emoji(live=4, candidate=9))
    assert (against_root(report), report.verdict) == (Outcome.FAILS, Verdict.FAILED)
    again = judge_again(report, replace(plan.policy, root_tolerance=0.3))
    assert again.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("live", [ROOT, None])
def test_the_loss_of_a_parent_that_is_not_live_is_the_childs(live: Version | None) -> None:
    """A failed version's child that learns nothing must not go live in its place."""
    report = report_of(beside_first(live, root_tolerance=0.05), wrong_on_emoji(live=4, candidate=4))
    assert report.verdict is Verdict.FAILED


def test_beside_a_parent_that_is_not_live_its_loss_is_the_childs() -> None:
    """Otherwise the child of a failed version could go live under an alias where nothing is."""
    verdicts = {}
    for live in (FIRST, ROOT):
        plan = beside_first(replace(live, number=9, digest=digest("another")), root_tolerance=0.05)
        right = wrong_on_emoji(live=4 if live is FIRST else 0, parent=4, candidate=4)
        report, answers = report_of(plan, right), answered(plan, right)
        found = verdicts_beside(plan, answers, report, spending={})
        verdicts[live.number] = {one.beside: one.verdict for one in found}
    assert verdicts == {
        2: {2: Verdict.FAILED, 9: Verdict.INCONCLUSIVE},
        1: {2: Verdict.FAILED, 9: Verdict.FAILED},
    }


def test_a_loss_that_the_live_version_has_does_not_excuse_one_against_the_own_parent() -> None:
    """Against the parent there is only the loss of this update, also if that is the root."""
    live = replace(FIRST, number=9, digest=digest("another"))
    plan = second_update(
        candidate=EARLIER[0],
        parent=ROOT,
        earlier=[],
        suites=[suite("emoji", EMOJI, SuiteKind.ZERO_SHOT)],
        policy=policy(**LIMITS, union_tolerance=0.9),
        live=LiveLineage(version=live, lineage=frozenset({1, 9}), updates=()),
    )
    report = report_of(plan, wrong_on_emoji(live=7, parent=7, candidate=0))
    failing = [m.baseline for m in report.measures if m.outcome is Outcome.FAILS]
    assert (failing, report.verdict) == (["parent and root"], Verdict.FAILED)


def settled(plan: EvaluationPlan, *, forgets: int) -> Outcome:
    """The outcome of the oldest holdout of all, if version 3 and later have forgotten it."""

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        first = (
            isinstance(question, ClassQuery)
            and question.entries == plan.holdouts[0].exam.own.entries
        )
        return not (first and who.number >= forgets)

    measures = report_of(plan, right).measures
    (found,) = (
        m
        for m in measures
        if (m.kind, m.name, m.asked.value) == (MeasureKind.HOLDOUT, "version 2", "own")
        and m.baseline == "settled version"
    )
    return found.outcome


def test_a_holdout_that_the_live_version_has_forgotten_is_not_the_candidates_loss() -> None:
    live = LiveLineage(version=SECOND, lineage=frozenset({1, 2, 3}), updates=())
    assert settled(third_update(live=live), forgets=3) is Outcome.OPEN
    assert settled(third_update(live=live), forgets=4) is Outcome.FAILS


def test_what_the_live_version_never_learned_excuses_nothing() -> None:
    assert settled(third_update(live=live_line()), forgets=3) is Outcome.FAILS


@pytest.mark.parametrize("captions", [False, True])
def test_what_is_lost_of_the_update_itself_is_judged_beside_a_live_version_of_another_line(
    *, captions: bool
) -> None:
    """It gains over a parent that had lost these classes, which the live version never lost."""
    names = tuple(f"x{n}" for n in range(20))
    images = entries("own", [(name,) for name in names] * 8)
    update = taught(FIRST, 3, () if captions else names)
    held_out = {"holdout": (), "captions": images} if captions else {"holdout": images}
    plan = second_update(
        candidate=HeldOutUpdate(version=update, **held_out),
        live=live_line(),
        suites=[suite("emoji", EMOJI, SuiteKind.ZERO_SHOT)],
    )

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        if question.entries != images or who.number in {1, 10}:
            return True
        return who == update and index % 2 == 0

    answers = answered(plan, right)
    report = report_of(plan, right)
    beside = {
        one.beside: one.verdict for one in verdicts_beside(plan, answers, report, spending={})
    }
    failing = {one.baseline for one in report.measures if one.outcome is Outcome.FAILS}
    assert (beside[10], failing) == (Verdict.FAILED, {"live version"})
    assert beside[FIRST.number] is not Verdict.FAILED
    assert not any(is_guard(one, 1) for one in report.measures if one.name == "version 3")
    assert judge_again(report, plan.policy).verdict is Verdict.FAILED
