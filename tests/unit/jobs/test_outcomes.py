"""The words in which a job's outcome is told."""

from dataclasses import replace
from typing import Any

import pytest

from api.jobs.outcomes import Outcome, Present, outcome_of
from core.jobs.rules import NamedJob
from core.values import ErasureId, ModelId
from tests.support.factories import a_job_of_no_model

MODEL, ERASURE = ModelId("model_demo"), ErasureId("era_1")
PROMOTION = "/ui/models/demo/aliases/live/promotion?version=2"


def outcome(
    erasure: ErasureId | None = None,
    *,
    live: int | None = 1,
    deleted: bool = False,
    **promotion: Any,
) -> Outcome:
    """The outcome of an update that made version 2, and what is there now."""
    result = {"version": 2, "verdict": "passed", "promotion": {"alias": "live"} | promotion}
    job = replace(a_job_of_no_model("lane"), model=MODEL, result=result)
    now = Present(
        versions={} if deleted else {(MODEL, 2): erasure},
        aliases={} if live is None else {(MODEL, "live"): live},
    )
    return outcome_of(NamedJob(job=job, model="demo", parent_digest=None), now)


def told(**now: Any) -> tuple[str, str]:
    found = outcome(**now)
    return found.text, found.promotion


@pytest.mark.parametrize(
    ("live", "words"),
    [
        (2, "made live as live"),
        (3, "made live as live, where version 3 is now"),
        (None, "made live as live, which was deleted since"),
    ],
)
def test_a_job_says_that_its_version_went_live(live: int | None, words: str) -> None:
    assert told(live=live, moved=True, reason="passed") == (words, "")


def test_a_version_that_was_promoted_by_hand_is_not_offered_for_promotion() -> None:
    words = "live as live, promoted by hand"
    assert told(live=2, moved=False, reason="gate_inconclusive") == (words, "")


@pytest.mark.parametrize("moved", [True, False])
@pytest.mark.parametrize("live", [1, 2])
def test_a_version_that_learned_from_erased_images_is_told_as_such(moved: bool, live: int) -> None:
    found = outcome(ERASURE, live=live, moved=moved, reason="not_asked_for")
    assert found.tag == ("failed", "learned from erased images")
    still = ", but is still live as live" if live == 2 else ""
    words = f"images that it learned from were erased since: it may not go live{still}"
    assert (found.text, found.promotion) == (words, "")


def test_a_version_that_was_deleted_is_neither_linked_nor_offered() -> None:
    found = outcome(deleted=True, moved=False, reason="not_asked_for")
    assert (found.link, found.promotion) == (None, "")
    assert found.text == "version 2 was deleted since"


@pytest.mark.parametrize(
    ("reason", "words", "by_hand"),
    [
        ("not_asked_for", "the order leaves that to a person", PROMOTION),
        ("gate_inconclusive", "the gate cannot decide", PROMOTION),
        ("gate_failed", "the gate failed it", ""),
        ("stale_base", "live had moved", ""),
        ("evaluation_stale", "what judges it had changed", ""),
        ("learned_erased_images", "images that it learned from had been erased", ""),
        ("key_not_live", "the key that ordered it had been revoked or had expired", ""),
        ("forbidden", "the key that ordered it may not move aliases", ""),
    ],
)
def test_a_job_says_why_its_version_did_not_go_live(reason: str, words: str, by_hand: str) -> None:
    assert told(moved=False, reason=reason) == (f"not made live: {words}", by_hand)
