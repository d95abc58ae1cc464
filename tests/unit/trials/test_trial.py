"""Trials: which versions may be tried, who is asked, and how a trial ends."""

from dataclasses import replace

import pytest

from core.errors import (
    ArtifactGone,
    EvaluationPending,
    FieldInvalid,
    GateFailed,
    LearnedErasedImages,
    PerennialError,
    TrialEnded,
)
from core.gate.rules import Verdict
from core.registry.versions import Version
from core.trials.rules import Arm, TrialEnd, TrialMode, require_share, require_trial
from core.values import ErasureId, TrialId
from tests.support.factories import NOW, a_job, a_model, a_policy, a_trial, a_version

KEYS = [f"key {number}" for number in range(4000)]


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_a_share_of_the_keys_goes_to_the_candidate_and_always_the_same_ones(share: float) -> None:
    trial = a_trial(mode=TrialMode.CANARY, share=share)
    arms = [trial.arm_of(key) for key in KEYS]
    assert arms.count(Arm.CANDIDATE) / len(KEYS) == pytest.approx(share, abs=0.03)
    assert [trial.arm_of(key) for key in KEYS] == arms
    other = replace(trial, id=TrialId("trial_other"))
    both = [key for key in KEYS if trial.arm_of(key) == other.arm_of(key) == Arm.CANDIDATE]
    assert len(both) / len(KEYS) == pytest.approx(share**2, abs=0.03)


def test_a_shadow_never_answers() -> None:
    trial = a_trial(mode=TrialMode.SHADOW, share=None)
    assert {trial.arm_of(key) for key in KEYS[:50]} == {Arm.CURRENT}


def test_a_trial_that_has_ended_does_not_run() -> None:
    a_trial().require_running()
    with pytest.raises(TrialEnded):
        replace(a_trial(), end=TrialEnd.STOPPED).require_running()


@pytest.mark.parametrize(
    ("mode", "share", "allowed"),
    [
        (TrialMode.CANARY, 0.5, True),
        (TrialMode.CANARY, 1e-6, True),
        (TrialMode.CANARY, 0.51, False),
        (TrialMode.CANARY, 0.0, False),
        (TrialMode.CANARY, float("nan"), False),
        (TrialMode.CANARY, None, False),
        (TrialMode.SHADOW, None, True),
        (TrialMode.SHADOW, 0.1, False),
    ],
)
def test_a_canary_takes_a_share_of_up_to_a_half_and_a_shadow_none(
    mode: TrialMode, share: float | None, allowed: bool
) -> None:
    if allowed:
        require_share(mode, share)
        return
    with pytest.raises(FieldInvalid):
        require_share(mode, share)


@pytest.fixture
def current() -> Version:
    return a_version(a_job(a_model(a_policy())), 1)


@pytest.mark.parametrize(
    ("changes", "canary", "shadow"),
    [
        ({"verdict": Verdict.PASSED}, None, None),
        ({"verdict": Verdict.INCONCLUSIVE}, None, None),
        ({"verdict": None}, EvaluationPending, None),
        ({"verdict": Verdict.FAILED}, GateFailed, None),
        ({"parent": None, "verdict": None}, None, None),
        ({"verdict": Verdict.PASSED, "collected_at": NOW}, ArtifactGone, ArtifactGone),
        (
            {"verdict": Verdict.PASSED, "erasure": ErasureId("era_1")},
            LearnedErasedImages,
            LearnedErasedImages,
        ),
        ({"verdict": Verdict.PASSED, "digest": None}, FieldInvalid, FieldInvalid),
    ],
)
def test_a_canary_answers_callers_and_so_must_not_have_failed(
    current: Version,
    changes: dict[str, object],
    canary: type[PerennialError] | None,
    shadow: type[PerennialError] | None,
) -> None:
    if changes.get("digest", "") is None:
        changes = changes | {"digest": current.digest}
    job = a_job(a_model(a_policy()))
    candidate = replace(a_version(job, 2, parent=1), **changes)  # type: ignore[arg-type]
    for mode, refusal in ((TrialMode.CANARY, canary), (TrialMode.SHADOW, shadow)):
        if refusal is None:
            require_trial(mode, current=current, candidate=candidate, scores={})
            continue
        with pytest.raises(refusal):
            require_trial(mode, current=current, candidate=candidate, scores={})
