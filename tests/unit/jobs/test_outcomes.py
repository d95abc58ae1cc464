"""The words in which a job's outcome is told."""

from dataclasses import replace

import pytest

from api.jobs.outcomes import outcome_of
from core.jobs.rules import NamedJob
from tests.support.factories import a_job_of_no_model

PROMOTION = "/ui/models/demo/aliases/live/promotion?version=2"


def told(**promotion: object) -> tuple[str, str]:
    result = {"version": 2, "verdict": "passed", "promotion": {"alias": "live"} | promotion}
    job = replace(a_job_of_no_model("lane"), result=result)
    found = outcome_of(NamedJob(job=job, model="demo", parent_digest=None), {})
    return found.text, found.promotion


def test_a_job_says_that_its_version_went_live() -> None:
    assert told(moved=True, reason="passed") == ("made live as live", "")


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
