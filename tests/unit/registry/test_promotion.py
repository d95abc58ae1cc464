"""The rules of promotion, and their refusals word by word."""

from dataclasses import replace
from typing import Any

import pytest

from core.errors import EvaluationPending, EvaluationStale, GateFailed, PerennialError
from core.gate.rules import Verdict
from core.registry.promotable import (
    PromotionRequirements,
    ReportCoverage,
    require_override,
    require_promotable,
)
from core.registry.versions import Version
from core.values import PolicyId, SuiteId
from tests.support.factories import a_job, a_model, a_policy, a_version

PASSED, FAILED, INCONCLUSIVE = Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE

SCORES = {"measures": [{"name": "emoji"}], "reasons": ["It forgot."]}

JOB = a_job(a_model(a_policy()))

SUITES = {SuiteId("suite_1"): "emoji", SuiteId("suite_2"): "shapes", SuiteId("suite_3"): "digits"}

COVERED = ReportCoverage(suites=frozenset(SUITES), policy="gate_1", live=None)

BARE = PromotionRequirements(
    model="demo",
    alias="staging",
    suites=SUITES,
    policy=(PolicyId("gate_1"), "strict"),
    live=None,
)


def version(number: int, verdict: Verdict | None = None, parent: int | None = 1) -> Version:
    return a_version(JOB, number, parent=parent, verdict=verdict)


ROOT = version(1, parent=None)

BESIDE = replace(BARE, live=version(3), lost=(version(2), version(3)), lost_classes=("cat", "dog"))


def decided(
    candidate: Version,
    now: PromotionRequirements = BARE,
    covered: ReportCoverage | None = COVERED,
    *,
    override: bool = False,
    reason: str = "",
) -> bool:
    return require_promotable(
        candidate, now, covered, override=override, reason=reason, scores=SCORES
    )


def refusal(*asked: Any, **how: Any) -> PerennialError:
    with pytest.raises(PerennialError) as told:
        decided(*asked, **how)
    return told.value


# ---- Which versions may go live -------------------------------------------------------------


@pytest.mark.parametrize(
    ("candidate", "now", "reason"),
    [
        (version(7, PASSED), BARE, ""),
        (version(7, PASSED), BARE, "better"),
        (version(7, INCONCLUSIVE), BARE, "enough for us"),
        (ROOT, BARE, ""),
    ],
)
@pytest.mark.parametrize("override", [False, True])
def test_version_that_is_let_through_takes_no_override(
    candidate: Version, now: PromotionRequirements, reason: str, override: bool
) -> None:
    assert decided(candidate, now, reason=reason, override=override) is False


@pytest.mark.parametrize(
    ("candidate", "now", "fault"),
    [
        (version(7, FAILED), BARE, GateFailed),
        (version(7, PASSED), BESIDE, EvaluationStale),
        (version(7, INCONCLUSIVE), BESIDE, EvaluationStale),
        (ROOT, BESIDE, EvaluationStale),
    ],
)
def test_what_is_refused_takes_an_override_and_a_reason(
    candidate: Version, now: PromotionRequirements, fault: type[PerennialError]
) -> None:
    assert isinstance(refusal(candidate, now, reason="please"), fault)
    assert isinstance(refusal(candidate, now, override=True), GateFailed | EvaluationStale)
    assert decided(candidate, now, override=True, reason="please") is True


def test_no_override_goes_past_a_missing_verdict() -> None:
    told = refusal(version(7), override=True, reason="now")
    assert (type(told), told.facts) == (EvaluationPending, {"version": 7})


@pytest.mark.parametrize(
    ("verdict", "override", "taken"),
    [
        (None, False, False),
        (PASSED, False, False),
        (INCONCLUSIVE, False, False),
        (INCONCLUSIVE, True, False),
        (FAILED, True, True),
    ],
)
def test_move_back_takes_an_override_only_to_what_failed(
    verdict: Verdict | None, override: bool, taken: bool
) -> None:
    assert require_override(version(7, verdict), override=override, scores=SCORES) is taken


# ---- What a verdict answers -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "covered", "missing"),
    [
        (BARE, COVERED, {}),
        (BARE, replace(COVERED, live=3), {}),
        (BARE, replace(COVERED, suites=COVERED.suites | {"dropped"}), {}),
        (BESIDE, replace(COVERED, live=3), {}),
        (BESIDE, replace(COVERED, live=2), {"live": 3}),
        (BESIDE, COVERED, {"live": 3}),
        (BARE, replace(COVERED, suites=frozenset({"suite_2"})), {"suites": ["emoji", "digits"]}),
        (BARE, replace(COVERED, policy="gate_2"), {"policy": "strict"}),
        (BARE, None, {"suites": ["emoji", "shapes", "digits"], "policy": "strict"}),
        (replace(BESIDE, suites={}), None, {"policy": "strict", "live": 3}),
    ],
)
def test_verdict_leaves_open_what_it_is_not_about(
    now: PromotionRequirements, covered: ReportCoverage | None, missing: dict[str, Any]
) -> None:
    assert now.missing_from(covered) == missing


def test_report_tells_what_it_answers() -> None:
    report = {"suites": {"suite_1": "emoji"}, "policy": {"id": "gate_1", "name": "x"}, "live": 3}
    assert ReportCoverage.of(report) == ReportCoverage(
        suites=frozenset({"suite_1"}), policy="gate_1", live=3
    )


# ---- What a refusal says --------------------------------------------------------------------

OVERRIDE = "send an override with a reason that states what is lost"

AGAIN = f"Score it again: POST /v1/jobs with `score_again` as the body; or {OVERRIDE}."

TOLD = (
    "Version 3 is live as 'staging'. Version 7 does not descend from it and was not compared "
    "with it"
)

SCORE_AGAIN = {"type": "evaluate", "model": "demo", "version": 7, "alias": "staging"}

LOST = {"versions": [2, 3], "classes": ["cat", "dog"]}

UNKNOWN = "The report of version 7 is gone or damaged."


@pytest.mark.parametrize(
    ("verdict", "needed"), [(FAILED, "an override and a reason"), (INCONCLUSIVE, "a reason")]
)
def test_gates_refusal_says_what_a_move_needs(verdict: Verdict, needed: str) -> None:
    told = refusal(version(7, verdict))
    assert told.message == (
        f"The gate's verdict on version 7 is '{verdict}': moving an alias to it requires {needed}."
    )
    assert told.facts == {"version": 7, "verdict": verdict.value, "scores": SCORES}


def test_move_back_to_what_failed_is_refused_in_the_same_words() -> None:
    with pytest.raises(GateFailed) as back:
        require_override(version(7, FAILED), override=False, scores=SCORES)
    forward = refusal(version(7, FAILED))
    assert (back.value.message, back.value.facts) == (forward.message, forward.facts)


@pytest.mark.parametrize(
    ("now", "covered", "sentences", "facts"),
    [
        (
            replace(BESIDE, lost_classes=()),
            COVERED,
            f"{TOLD}; it lacks the updates that led to version 2, version 3. {AGAIN}",
            {"live": 3, "lost": LOST | {"classes": []}, "score_again": SCORE_AGAIN},
        ),
        (
            replace(BESIDE, back=True),
            COVERED,
            f"{TOLD}; it has not learned cat, dog. Version 3 descends from it: roll back, or "
            f"{OVERRIDE}.",
            {"live": 3, "lost": LOST},
        ),
        (
            BESIDE,
            ReportCoverage(suites=frozenset({"suite_1", "suite_2"}), policy="gate_2", live=2),
            f"{TOLD}; it has not learned cat, dog. The verdict on version 7 does not cover these "
            "suites of the model: digits. The verdict on version 7 was made under another policy "
            f"than the model's current one, 'strict'. {AGAIN}",
            {
                "suites": ["digits"],
                "policy": "strict",
                "live": 3,
                "lost": LOST,
                "score_again": SCORE_AGAIN,
            },
        ),
        (
            BARE,
            None,
            f"{UNKNOWN} {AGAIN}",
            {
                "suites": ["emoji", "shapes", "digits"],
                "policy": "strict",
                "score_again": SCORE_AGAIN,
            },
        ),
    ],
)
def test_stale_verdict_says_what_is_missing_and_what_would_be_lost_and_what_to_do(
    now: PromotionRequirements,
    covered: ReportCoverage | None,
    sentences: str,
    facts: dict[str, Any],
) -> None:
    told = refusal(version(7, PASSED), now, covered)
    assert isinstance(told, EvaluationStale)
    assert told.message == sentences
    assert told.facts == {"version": 7} | facts


def test_root_is_told_to_be_rolled_back_to() -> None:
    told = refusal(ROOT, replace(BESIDE, back=True), None)
    assert told.message == (
        f"{TOLD}; it has not learned cat, dog. Version 3 descends from it: roll back, or "
        f"{OVERRIDE}."
    ).replace("Version 7", "Version 1")
    assert told.facts == {"version": 1, "live": 3, "lost": LOST}
