"""What a verdict makes of a version."""

import pytest

from core.domain.gate.policy import Verdict
from core.domain.registry.version import VersionStatus
from tests.support.factories import a_job, a_model, a_policy, a_version, digest

CANDIDATE, REJECTED, PROMOTED = VersionStatus


@pytest.mark.parametrize(
    ("before", "verdict", "after"),
    [
        (CANDIDATE, Verdict.FAILED, REJECTED),
        (CANDIDATE, Verdict.PASSED, CANDIDATE),
        (REJECTED, Verdict.PASSED, CANDIDATE),
        (REJECTED, Verdict.INCONCLUSIVE, CANDIDATE),
        (PROMOTED, Verdict.FAILED, PROMOTED),
    ],
)
def test_newest_verdict_decides_where_a_version_stands(
    before: VersionStatus, verdict: Verdict, after: VersionStatus
) -> None:
    version = a_version(a_job(a_model(a_policy())), 2, parent=1, status=before)
    judged = version.judged(verdict, digest("report"))
    assert (judged.status, judged.verdict) == (after, verdict)
