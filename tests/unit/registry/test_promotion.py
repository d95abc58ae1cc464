"""The rules of promotion, and their refusals word by word."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from core.errors import (
    EvaluationPending,
    EvaluationStale,
    GateFailed,
    LearnedErasedImages,
    PerennialError,
)
from core.gate.rules import Verdict
from core.principal import Role
from core.registry.promotable import (
    PromotionRequirements,
    failed_since,
    require_canary,
    require_override,
    require_promotable,
    role_to_override,
)
from core.registry.verdicts import VersionVerdict, shown_verdict
from core.registry.versions import Version
from core.values import Digest, ErasureId, Json, PolicyId, SuiteId
from tests.support.factories import NOW, a_job, a_model, a_policy, a_version

PASSED, FAILED, INCONCLUSIVE = Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE

SCORES = {"measures": [{"name": "emoji"}], "reasons": ["It forgot."]}

SUITES = {SuiteId("suite_1"): "emoji", SuiteId("suite_2"): "shapes", SuiteId("suite_3"): "digits"}

MODEL = replace(a_model(a_policy()), name="demo", suites=tuple(SUITES), policy=PolicyId("gate_1"))

JOB = a_job(MODEL)

PARENT = 5  # of version 7, which the tests are about


def version(number: int = 7, parent: int | None = PARENT, **changes: Any) -> Version:
    return a_version(JOB, number, parent=parent, **changes)


BARE = PromotionRequirements(
    model=MODEL,
    alias="staging",
    names={**SUITES, "gate_1": "strict"},
    parent=PARENT,
    live=None,
)

BESIDE = replace(BARE, live=version(3), lost=(version(2), version(3)), lost_classes=("cat", "dog"))

ABOVE = replace(BARE, live=version(4))  # an ancestor that is not the parent

ROOT = version(1, parent=None)


def on_seven(verdict: Verdict, beside: int = PARENT, **changes: Any) -> VersionVerdict:
    """A verdict on version 7 that covers what is in force."""
    made = VersionVerdict(
        model=MODEL.id,
        version=7,
        beside=beside,
        policy=MODEL.policy,
        suites=tuple(sorted(SUITES)),
        updates=(2, 3) if beside == 3 else (),
        verdict=verdict,
        report=Digest(f"report of {verdict} beside {beside}"),
        images=100,
        job=JOB.id,
        at=NOW,
    )
    return replace(made, **changes)


def scores(report: Digest | None) -> Json:
    return SCORES | {"report": report}


def decided(
    now: PromotionRequirements,
    *verdicts: VersionVerdict,
    candidate: Version | None = None,
    override: bool = False,
    reason: str = "",
) -> bool:
    return require_promotable(
        candidate or version(), now, verdicts, override=override, reason=reason, scores=scores
    )


def refusal(*asked: Any, **how: Any) -> PerennialError:
    with pytest.raises(PerennialError) as told:
        decided(*asked, **how)
    return told.value


# ---- Which versions may go live -------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "verdicts", "reason"),
    [
        (BARE, [on_seven(PASSED)], ""),
        (BARE, [on_seven(PASSED)], "better"),
        (BARE, [on_seven(INCONCLUSIVE)], "enough for us"),
        (BARE, [on_seven(PASSED), on_seven(FAILED, beside=3)], ""),
        (BARE, [on_seven(PASSED, suites=(*SUITES, "suite_4"))], ""),
        (BARE, [on_seven(FAILED, policy=PolicyId("gate_2")), on_seven(PASSED)], ""),
        (BESIDE, [on_seven(PASSED, beside=3)], ""),
        (BESIDE, [on_seven(PASSED), on_seven(INCONCLUSIVE, beside=3)], "enough for us"),
        (ABOVE, [on_seven(PASSED, beside=4)], ""),
        (BESIDE, [on_seven(PASSED, beside=3, updates=(2, 3, 4))], ""),
    ],
)
@pytest.mark.parametrize("override", [False, True])
def test_version_that_is_let_through_takes_no_override(
    now: PromotionRequirements, verdicts: list[VersionVerdict], reason: str, override: bool
) -> None:
    assert decided(now, *verdicts, reason=reason, override=override) is False


def test_root_takes_no_verdict_where_nothing_is_live() -> None:
    assert decided(replace(BARE, parent=None), candidate=ROOT) is False


@pytest.mark.parametrize(
    ("now", "verdicts", "fault"),
    [
        (BARE, [on_seven(FAILED)], GateFailed),
        # The worst of several counts, whichever came last.
        (BARE, [on_seven(FAILED), on_seven(PASSED, suites=(*SUITES, "suite_4"))], GateFailed),
        (BARE, [on_seven(PASSED), on_seven(FAILED, suites=(*SUITES, "suite_4"))], GateFailed),
        (BESIDE, [on_seven(PASSED), on_seven(FAILED, beside=3)], GateFailed),
        # What failed beside its parent has failed, whatever is live.
        (BESIDE, [on_seven(FAILED), on_seven(PASSED, beside=3)], GateFailed),
        (BESIDE, [on_seven(FAILED)], GateFailed),
        # A verdict beside another version, on fewer suites or under another policy covers nothing.
        (BESIDE, [on_seven(PASSED)], EvaluationStale),
        (BESIDE, [on_seven(PASSED, beside=2)], EvaluationStale),
        (BESIDE, [on_seven(INCONCLUSIVE)], EvaluationStale),
        (ABOVE, [on_seven(PASSED)], EvaluationStale),
        # What the live version has replaced is asked about as well, and a failure counts anyway.
        (BESIDE, [on_seven(PASSED, beside=3, updates=(3,))], EvaluationStale),
        (BESIDE, [on_seven(PASSED, beside=3), on_seven(FAILED, beside=3, updates=())], GateFailed),
        (BARE, [on_seven(PASSED, suites=("suite_1",))], EvaluationStale),
        (BARE, [on_seven(PASSED, policy=PolicyId("gate_2"))], EvaluationStale),
        (BARE, [on_seven(FAILED, policy=PolicyId("gate_2"))], EvaluationStale),
    ],
)
def test_what_is_refused_takes_an_override_and_a_reason(
    now: PromotionRequirements, verdicts: list[VersionVerdict], fault: type[PerennialError]
) -> None:
    assert isinstance(refusal(now, *verdicts, reason="please"), fault)
    assert isinstance(refusal(now, *verdicts, override=True), fault)
    assert decided(now, *verdicts, override=True, reason="please") is True


def test_no_override_goes_past_a_missing_verdict() -> None:
    told = refusal(BARE, override=True, reason="now")
    assert (type(told), told.facts) == (EvaluationPending, {"version": 7})


def test_what_learned_from_erased_images_is_refused_whatever_its_verdict() -> None:
    marked = version(erasure=ErasureId("era_1"))
    assert isinstance(refusal(BARE, on_seven(PASSED), candidate=marked), LearnedErasedImages)
    assert decided(BARE, on_seven(PASSED), candidate=marked, override=True, reason="now")


@pytest.mark.parametrize(
    ("changes", "verdicts", "role"),
    [
        ({}, [on_seven(PASSED), on_seven(INCONCLUSIVE, beside=3)], Role.OPERATOR),
        ({}, [on_seven(PASSED), on_seven(FAILED, beside=3)], Role.ADMIN),
        ({}, [on_seven(FAILED, policy=PolicyId("gate_2"))], Role.ADMIN),
        ({"erasure": ErasureId("era_1")}, [on_seven(PASSED)], Role.ADMIN),
        ({"parent": None}, [], Role.OPERATOR),
    ],
)
def test_an_override_takes_an_admin_once_the_version_has_failed_anywhere(
    changes: dict[str, Any], verdicts: list[VersionVerdict], role: Role
) -> None:
    assert role_to_override(version(**{"parent": PARENT, **changes}), verdicts) is role


@pytest.mark.parametrize(
    ("verdicts", "role"),
    [
        ([on_seven(PASSED)], Role.ADMIN),
        ([on_seven(PASSED), on_seven(PASSED, beside=3, updates=(2,))], Role.ADMIN),
        ([on_seven(PASSED), on_seven(INCONCLUSIVE, beside=3)], Role.OPERATOR),
    ],
)
def test_an_override_takes_an_admin_where_nothing_tells_what_the_live_version_knows_and_it_lacks(
    verdicts: list[VersionVerdict], role: Role
) -> None:
    """Whoever orders an evaluation would otherwise choose, by an alias, what fails."""
    assert role_to_override(version(), verdicts, BESIDE) is role
    assert role_to_override(version(), verdicts, BARE) is Role.OPERATOR


# ---- Which versions may answer callers of a canary ------------------------------------------


@pytest.mark.parametrize(
    ("now", "verdicts", "reason", "fault", "words"),
    [
        (BESIDE, [on_seven(PASSED, beside=3)], "", None, ""),
        (BESIDE, [on_seven(INCONCLUSIVE, beside=3)], "a look", None, ""),
        (BESIDE, [on_seven(INCONCLUSIVE, beside=3)], "", GateFailed, "a canary of it requires a"),
        (BESIDE, [on_seven(FAILED, beside=3)], "a look", GateFailed, "try it as a shadow"),
        (BESIDE, [on_seven(PASSED)], "a look", EvaluationStale, "or try it as a shadow"),
        (BARE, [on_seven(PASSED, policy=PolicyId("x"))], "", EvaluationStale, "another policy"),
        (BARE, [], "a look", EvaluationPending, "has not finished"),
    ],
)
def test_a_canary_takes_what_a_promotion_takes_without_an_override(
    now: PromotionRequirements,
    verdicts: list[VersionVerdict],
    reason: str,
    fault: type[PerennialError] | None,
    words: str,
) -> None:
    if fault is None:
        require_canary(version(), now, verdicts, reason=reason, scores=scores)
        return
    with pytest.raises(fault, match=words):
        require_canary(version(), now, verdicts, reason=reason, scores=scores)


def test_a_root_is_no_canary_beside_what_descends_from_it() -> None:
    now = replace(BESIDE, parent=None, back=True)
    with pytest.raises(EvaluationStale, match="roll back, or try it as a shadow"):
        require_canary(ROOT, now, [], reason="a look", scores=scores)


# ---- Which versions an alias may move back to -----------------------------------------------


@pytest.mark.parametrize(
    ("verdicts", "rightly", "free"),
    [
        ([], True, True),
        ([on_seven(PASSED)], True, True),
        ([on_seven(INCONCLUSIVE)], True, True),
        ([on_seven(PASSED), on_seven(FAILED, beside=9)], True, True),
        ([on_seven(PASSED), on_seven(FAILED, policy=PolicyId("gate_2"))], True, True),
        ([on_seven(FAILED, policy=PolicyId("gate_2"))], True, False),
        ([on_seven(FAILED, suites=("suite_1",))], True, False),
        ([on_seven(FAILED)], True, False),
        ([on_seven(PASSED), on_seven(FAILED, suites=(*SUITES, "suite_4"))], True, False),
        ([on_seven(PASSED)], False, False),
    ],
)
def test_move_back_takes_an_override_only_to_what_failed_beside_its_parent_or_was_never_right(
    verdicts: list[VersionVerdict], rightly: bool, free: bool
) -> None:
    def taken(*, override: bool) -> bool:
        failed = failed_since(version(), MODEL, verdicts)
        return require_override(
            version(), failed, override=override, rightly=rightly, scores=scores
        )

    assert taken(override=True) is not free
    if free:
        assert taken(override=False) is False
        return
    with pytest.raises(GateFailed):
        taken(override=False)


# ---- What pages show ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("newest", "stored", "shown"),
    [
        (on_seven(PASSED, beside=9), [on_seven(FAILED, beside=3)], FAILED),
        (on_seven(PASSED), [on_seven(FAILED, beside=8)], PASSED),  # 8 is not live any more
        (on_seven(PASSED), [on_seven(FAILED, policy=PolicyId("gate_2"))], PASSED),
        (on_seven(FAILED, beside=9), [on_seven(PASSED, beside=3)], FAILED),
        (on_seven(PASSED), [on_seven(INCONCLUSIVE, beside=3)], INCONCLUSIVE),
        (on_seven(PASSED), [], PASSED),
    ],
)
def test_page_shows_the_worst_verdict_that_counts(
    newest: VersionVerdict, stored: list[VersionVerdict], shown: Verdict
) -> None:
    later = replace(newest, at=NOW + timedelta(hours=1))
    assert shown_verdict(later, [*stored, later], MODEL, {PARENT, 3, 9}).verdict is shown


def test_page_shows_the_newest_of_equal_verdicts() -> None:
    later = on_seven(PASSED, at=NOW + timedelta(hours=1), beside=3)
    assert shown_verdict(later, [on_seven(PASSED), later], MODEL, {PARENT, 3}) == later


# ---- What a refusal says --------------------------------------------------------------------

OVERRIDE = "override the gate with a reason that states what is lost"

AGAIN = f"Score it again, or {OVERRIDE}."

TOLD = (
    "Version 3 is live as 'staging'. Version 7 does not descend from it and was not compared "
    "with it"
)

SCORE_AGAIN = {"type": "evaluate", "model": "demo", "version": 7, "alias": "staging"}

LOST = {"versions": [2, 3], "classes": ["cat", "dog"]}


@pytest.mark.parametrize(
    ("verdict", "needed"), [(FAILED, "an override and a reason"), (INCONCLUSIVE, "a reason")]
)
def test_gates_refusal_says_what_a_move_needs(verdict: Verdict, needed: str) -> None:
    told = refusal(BESIDE, on_seven(PASSED), on_seven(verdict, beside=3))
    assert told.message == (
        f"The gate's verdict on version 7 beside version 3 is '{verdict}': moving an alias to it "
        f"requires {needed}."
    )
    assert told.facts == {
        "version": 7,
        "verdict": verdict.value,
        "beside": 3,
        "scores": scores(Digest(f"report of {verdict} beside 3")),
    }


def test_a_pass_that_shortens_the_list_of_callers_who_send_no_classes_takes_a_reason() -> None:
    listed = replace(BESIDE, unlisted=("dog",))
    passed = on_seven(PASSED, beside=3)
    told = refusal(listed, passed)
    assert isinstance(told, GateFailed)
    assert told.message == (
        "Callers who send no `classes` would get dog no longer: version 7 has not learned what the "
        "live version has. Moving an alias to it requires a reason."
    )
    assert told.facts["lost"] == {"classes": ["dog"]}
    assert decided(listed, passed, reason="no dogs") is False
    assert decided(BESIDE, passed) is False  # what the live version has replaced is not on its list
    with pytest.raises(GateFailed, match="A canary of it requires a reason"):
        require_canary(version(), listed, [passed], reason="", scores=scores)


def test_move_back_to_what_failed_is_refused_in_the_same_words() -> None:
    with pytest.raises(GateFailed) as back:
        require_override(version(), on_seven(FAILED), override=False, rightly=True, scores=scores)
    forward = refusal(BARE, on_seven(FAILED))
    assert (back.value.message, back.value.facts) == (forward.message, forward.facts)


@pytest.mark.parametrize(
    ("now", "verdict", "sentences", "facts"),
    [
        (
            replace(BESIDE, lost_classes=()),
            on_seven(PASSED),
            f"{TOLD}; it lacks the updates that led to version 2, version 3. {AGAIN}",
            {"live": 3, "lost": LOST | {"classes": []}, "score_again": SCORE_AGAIN},
        ),
        (
            replace(BESIDE, back=True),
            on_seven(PASSED),
            f"{TOLD}; it has not learned cat, dog. Version 3 descends from it: roll back, or "
            f"{OVERRIDE}.",
            {"live": 3, "lost": LOST},
        ),
        (
            BESIDE,
            on_seven(PASSED, beside=2, suites=("suite_1", "suite_2"), policy=PolicyId("gate_2")),
            f"{TOLD}; it has not learned cat, dog. The verdict on version 7 does not cover these "
            "suites of the model, as they are now: digits. The verdict on version 7 was made "
            f"under another policy than the model's current one, 'strict'. {AGAIN}",
            {
                "suites": ["digits"],
                "policy": "strict",
                "live": 3,
                "lost": LOST,
                "score_again": SCORE_AGAIN,
            },
        ),
        (
            ABOVE,
            on_seven(PASSED),
            f"Version 4 is live as 'staging'. Version 7 was not compared with it. {AGAIN}",
            {"live": 4, "lost": {"versions": [], "classes": []}, "score_again": SCORE_AGAIN},
        ),
    ],
)
def test_stale_verdict_says_what_is_missing_and_what_would_be_lost_and_what_to_do(
    now: PromotionRequirements, verdict: VersionVerdict, sentences: str, facts: dict[str, Any]
) -> None:
    told = refusal(now, verdict)
    assert isinstance(told, EvaluationStale)
    assert told.message == sentences
    assert told.facts == {"version": 7} | facts


def test_of_several_verdicts_that_do_not_fit_the_newest_beside_what_is_live_is_told() -> None:
    fitting = on_seven(PASSED, beside=3, suites=("suite_1",))
    later = on_seven(PASSED, policy=PolicyId("gate_2"), at=NOW + timedelta(hours=1))
    told = refusal(BESIDE, fitting, later)
    assert told.facts == {
        "version": 7,
        "suites": ["shapes", "digits"],
        "score_again": SCORE_AGAIN,
    }


def test_root_is_told_to_be_rolled_back_to() -> None:
    told = refusal(replace(BESIDE, parent=None, back=True), candidate=ROOT)
    assert told.message == (
        f"{TOLD}; it has not learned cat, dog. Version 3 descends from it: roll back, or "
        f"{OVERRIDE}."
    ).replace("Version 7", "Version 1")
    assert told.facts == {"version": 1, "live": 3, "lost": LOST}
