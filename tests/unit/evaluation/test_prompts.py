"""Versions that answer callers who send no prompt in different ones are compared in these, too."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from core.datasets.rules import SuiteKind
from core.evaluation.exams import ScoredSuite
from core.evaluation.fitting import asked_beside, exceeded
from core.evaluation.holdouts import HeldOutUpdate
from core.evaluation.judge_again import judge_again
from core.evaluation.plan import EvaluationPlan, LiveLineage
from core.evaluation.queries import ClassQuery, EvalQuery
from core.evaluation.report import Report
from core.gate.kinds import ClassList, MeasureKind, Outcome
from core.gate.rules import Verdict
from core.recipes.fields import PromptTemplate
from core.registry.versions import Version
from tests.support.evaluation.evaluations import (
    EARLIER,
    FIRST,
    ROOT,
    answered,
    entries,
    live_line,
    policy,
    report_of,
    second_update,
    suite,
)

OTHER = PromptTemplate("sku {name} 2026")

EMOJI = suite("emoji", entries("emoji", [("cat",), ("dog",), ("sun",)] * 20), SuiteKind.ZERO_SHOT)

LIMITS = dict.fromkeys(
    (f"{name}_tolerance" for name in ("parent", "root", "union", "holdout", "settled", "swallow")),
    0.25,
)

Right = Callable[[Version, EvalQuery, int], bool]


def first_update(
    prompt: PromptTemplate = OTHER, live: LiveLineage | None = None, asked: ScoredSuite = EMOJI
) -> EvaluationPlan:
    """Version 2, the first of its line, answers in this prompt."""
    return second_update(
        candidate=HeldOutUpdate(version=replace(FIRST, prompt=prompt), holdout=EARLIER[0].holdout),
        parent=ROOT,
        earlier=[],
        suites=[asked],
        live=live,
        policy=policy(class_tolerance=None, alpha=0.1, **LIMITS),
    )


def wrong(who: Version, prompt: PromptTemplate, images: object = None) -> Right:
    """A version is wrong in a prompt, about these images or all, and the root about what is new."""

    def right(by: Version, question: EvalQuery, index: int) -> bool:
        if not isinstance(question, ClassQuery):
            return True
        new = question.entries == EARLIER[0].holdout and by.number == ROOT.number
        lost = by.number == who.number and question.prompt == prompt
        return not new and not (lost and images in (None, question.entries))

    return right


def test_the_first_update_does_not_pass_in_a_prompt_that_loses_what_callers_got() -> None:
    plan = first_update()
    kept = report_of(plan, wrong(ROOT, OTHER))  # nobody gets that of the root
    assert kept.verdict is Verdict.PASSED
    lost = report_of(plan, wrong(FIRST, OTHER, EMOJI.manifest.entries))
    assert lost.verdict is Verdict.FAILED
    failing = {(m.name, m.asked, m.own_prompts) for m in lost.measures if m.outcome == "fails"}
    asked = {ClassList.OWN, ClassList.UNION}
    assert failing == {("emoji", one, True) for one in asked}
    assert lost.reasons[0].startswith(
        "Top-1 on emoji, each version in its own prompt, against the parent and root changed by"
    )
    told = "It may not go live: callers who send no prompt would lose more than the limits allow."
    assert lost.summary.go_live == told
    assert "each version in its own prompt" in lost.summary.lost
    assert judge_again(lost, plan.policy).verdict is Verdict.FAILED


def test_the_same_prompt_is_asked_once() -> None:
    plan = first_update(ROOT.prompt)
    report = report_of(plan, wrong(ROOT, OTHER))
    assert not any(one.own_prompts for one in report.measures)
    asked = {
        q.prompt for _, queries in plan.questions for q in queries if isinstance(q, ClassQuery)
    }
    assert asked == {ROOT.prompt}


@pytest.mark.parametrize("lost", [False, True])
def test_a_suite_with_a_prompt_of_its_own_is_asked_in_the_one_that_callers_get_too(
    *, lost: bool
) -> None:
    asked = replace(EMOJI, suite=replace(EMOJI.suite, prompt=OTHER))
    plan = first_update(ROOT.prompt, asked=asked)
    images = EMOJI.manifest.entries if lost else ()
    report = report_of(plan, wrong(FIRST, ROOT.prompt, images))
    emoji = {(one.asked, one.own_prompts): one.outcome for one in report.measures[:4]}
    outcome = Outcome.FAILS if lost else Outcome.HOLDS
    lists = (ClassList.OWN, ClassList.UNION)
    assert emoji == {(one, False): Outcome.HOLDS for one in lists} | {
        (one, True): outcome for one in lists
    }
    assert not any(one.own_prompts for one in report.measures if one.name != "emoji")
    assert report.verdict is (Verdict.FAILED if lost else Verdict.PASSED)


def test_an_update_that_is_to_fit_is_asked_in_its_own_prompt_too() -> None:
    plan = first_update()
    whole = answered(plan, wrong(FIRST, OTHER, EMOJI.manifest.entries))
    asked = {(by, one.digest) for by, queries in asked_beside(plan).items() for one in queries}
    answers = {key: answer for key, answer in whole.items() if key in asked}
    lost = {(one.name, one.own_prompts) for one in exceeded(plan, answers)}
    assert ("emoji", True) in lost
    assert ("emoji", False) not in lost


def test_a_version_with_the_roots_weights_and_another_prompt_is_asked_in_it() -> None:
    plan = first_update()
    plan = replace(plan, candidate=replace(plan.candidate, digest=ROOT.digest))
    (queries,) = (found for by, found in plan.questions if by.digest == ROOT.digest)
    assert OTHER in {q.prompt for q in queries if isinstance(q, ClassQuery)}


@pytest.mark.parametrize("lost", [False, True])
def test_what_another_live_line_has_learned_is_asked_in_the_prompts_that_callers_get(
    *, lost: bool
) -> None:
    """A sibling from the root, in its own prompt, is to replace a line that has learned classes."""
    line = live_line()
    plan = first_update(live=line)
    report = report_of(plan, wrong(FIRST, OTHER, line.updates[0].holdout if lost else ()))
    own = [one for one in report.measures if one.own_prompts and one.baseline == "live version"]
    prompted = {(MeasureKind.ZERO_SHOT, asked) for asked in (ClassList.OWN, ClassList.UNION)}
    kinds = (MeasureKind.HOLDOUT, MeasureKind.HOLDOUTS)
    of_holdouts = {*ClassList} - {ClassList.LEARNED}
    prompted |= {(kind, asked) for kind in kinds for asked in of_holdouts}
    assert {(one.kind, one.asked) for one in own} == prompted
    failing = {(m.name, m.own_prompts) for m in report.measures if m.outcome is Outcome.FAILS}
    assert report.verdict is (Verdict.FAILED if lost else Verdict.PASSED)
    assert failing - {("2 updates of the live version", True)} == {("version 9", True)} & failing
    assert bool(failing) is lost


def test_an_update_does_not_gain_by_a_prompt_in_which_its_parent_is_bad() -> None:
    """Callers who send none got 18 of 20 from the root; the update's prompt makes that 6."""
    plan = first_update()
    plan = replace(plan, policy=replace(plan.policy, alpha=0.005))

    def verdict(right_now: int) -> Report:
        def right(by: Version, question: EvalQuery, index: int) -> bool:
            if not isinstance(question, ClassQuery) or question.entries != EARLIER[0].holdout:
                return True
            before = 18 if question.prompt == ROOT.prompt else 6
            return index < (before if by.number == ROOT.number else right_now)

        return report_of(plan, right)

    report = verdict(14)
    plain, prompted = (m for m in report.measures if m.kind is MeasureKind.GAIN)
    assert (plain.outcome, plain.own_prompts) == (Outcome.HOLDS, False)
    assert (prompted.outcome, prompted.own_prompts) == (Outcome.OPEN, True)
    assert (prompted.right, prompted.right_before) == (14, 18)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "version 1 recognised 6, and 18 in its own prompt" in report.summary.learned
    assert "It got worse at bag (7 of 10 images, 9 before), shirt" in report.summary.learned
    assert judge_again(report, plan.policy).verdict is Verdict.INCONCLUSIVE
    assert verdict(2).verdict is Verdict.FAILED


def test_an_honest_first_update_in_another_prompt_passes_with_twenty_test_images() -> None:
    plan = first_update()
    report = report_of(plan, wrong(ROOT, OTHER))
    assert [m.outcome for m in report.measures if m.kind is MeasureKind.GAIN] == ["holds"] * 2
    assert report.verdict is Verdict.PASSED
    assert "All 4 guarded measures" in report.reasons[0]
