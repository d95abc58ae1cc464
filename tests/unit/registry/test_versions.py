"""Versions: the list of tensors that a digest is of, and the status after a verdict."""

import hashlib
from dataclasses import replace

import pytest

from core.errors import ArtifactGone
from core.gate.rules import Verdict
from core.registry.versions import TensorEntry, VersionStatus, Weights
from core.values import Digest
from tests.support.factories import NOW, a_job, a_model, a_policy, a_version, digest

BIAS = TensorEntry(name="text.bias", dtype="I64", shape=(), digest=Digest("bb"), size=8)

PROJ = TensorEntry(name="visual.proj", dtype="F32", shape=(2, 3), digest=Digest("aa"), size=24)

SPELLED = (
    b'{"config":{"model_cfg":{"embed_dim":4}},'
    b'"tensors":[["text.bias","I64",[],"bb",8],["visual.proj","F32",[2,3],"aa",24]]}'
)


def weights(*tensors: TensorEntry) -> Weights:
    return Weights(config={"model_cfg": {"embed_dim": 4}}, tensors=tensors)


def test_list_is_spelled_in_one_way_whatever_the_order_of_the_tensors() -> None:
    assert weights(BIAS, PROJ).to_bytes() == weights(PROJ, BIAS).to_bytes() == SPELLED
    assert weights(PROJ, BIAS).digest == hashlib.sha256(SPELLED).hexdigest()


def test_list_is_read_as_it_was_spelled() -> None:
    assert Weights.from_bytes(SPELLED) == weights(BIAS, PROJ)


def test_size_is_that_of_all_tensors() -> None:
    assert (weights(PROJ, BIAS).size, weights().size) == (32, 0)


def test_a_tokenizer_is_no_parameters() -> None:
    tokenizer = TensorEntry(name="tokenizer", dtype="U8", shape=(9,), digest=Digest("cc"), size=9)
    assert weights(PROJ, BIAS, tokenizer).parameters == 7
    assert weights(PROJ, BIAS, tokenizer).size == 41


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


def test_version_keeps_its_newest_report() -> None:
    version = a_version(a_job(a_model(a_policy())), 2, parent=1, report=digest("older"))
    judged = version.judged(Verdict.INCONCLUSIVE, digest("newer"))
    assert judged == replace(version, verdict=Verdict.INCONCLUSIVE, report=digest("newer"))


def test_version_that_went_live_is_promoted_and_else_as_it_was() -> None:
    version = a_version(a_job(a_model(a_policy())), 2, parent=1, verdict=Verdict.FAILED)
    assert version.went_live() == replace(version, status=PROMOTED)


def test_version_without_weights_says_since_when() -> None:
    version = a_version(a_job(a_model(a_policy())), 2)
    version.require_weights()
    with pytest.raises(ArtifactGone) as told:
        replace(version, collected_at=NOW).require_weights()
    assert told.value.facts == {"version": 2, "collected_at": "2026-03-01T12:00:00.123456+00:00"}
    assert told.value.message == "The weights of this version have been deleted."


@pytest.mark.parametrize(
    ("environments", "exact"), [((), None), (({"torch": "1"},), True), (({}, {}), False)]
)
def test_version_is_exact_if_its_training_went_through_one_environment(
    environments: tuple[dict[str, str], ...], exact: bool | None
) -> None:
    version = a_version(a_job(a_model(a_policy())), 2, environments=environments)
    assert version.exact is exact
