"""Versions in memory: what is kept within its bytes, and loaded before it is asked."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from fastapi.testclient import TestClient

from core.clip.model import load
from core.clip.served import TorchModel
from core.engines import opening
from core.engines.served import Floats, ServedModel
from core.errors import ArtifactsUnavailable, EngineUnavailable
from core.gate.policies import ensure_default_policy
from core.inference.wire import TEXTS_AT_ONCE
from core.jobs.rows import Jobs
from core.platform import Platform
from core.registry.alias_rows import Aliases
from core.registry.version_rows import Versions
from core.registry.versions import ServingPrecision, in_precision
from core.trials.rows import Trials
from core.values import Digest, ModelId
from tests.support.api.seeds import a_root
from tests.support.factories import a_job, a_trial, a_version
from tests.support.learning.tiny_clip import tiny_clip
from tests.support.processes import wait_for
from tests.unit.worker.inference.conftest import store, weights_of
from worker.inference.classifier import MicroBatcher, TextFeatures
from worker.inference.models import AliasFollower, ModelCache

DIGEST = Digest("0" * 64)


def live_models(platform: Platform, *, versions: float) -> ModelCache:
    """Room for so many versions, all of one size."""
    one = sum(tensor.nbytes for tensor in tiny_clip(0).network.state_dict().values())
    return ModelCache(
        platform.artifacts, partial(opened_by_torch, platform), max_bytes=int(one * versions)
    )


def opened_by_torch(platform: Platform, digest: Digest) -> ServedModel:
    return TorchModel(load(digest, platform.artifacts).freeze())


def test_versions_are_kept_as_far_as_their_bytes_go(platform: Platform) -> None:
    models = live_models(platform, versions=2.5)
    one, two, three = (store(platform, seed) for seed in (1, 2, 3))

    for digest in (one, two, one, three):
        models.get(digest)

    assert models.digests() == sorted([one, three])  # two was used least recently

    small = live_models(platform, versions=0.5)
    for digest in (one, two):
        small.get(digest)
    assert small.digests() == [two]  # which is larger than the bound


def test_room_is_made_before_the_next_version_takes_its_memory(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = live_models(platform, versions=1)
    one, two = store(platform, 1), store(platform, 2)
    models.get(one)
    beside: list[list[Digest]] = []

    def opened(_: Digest) -> ServedModel:
        beside.append(models.digests())
        return TorchModel(tiny_clip(2))

    monkeypatch.setattr(models, "_open", opened)
    models.get(two)
    assert beside == [[]]


def test_a_version_that_this_machine_cannot_compute_pushes_nobody_out(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, one = live_models(platform, versions=1), store(platform, 1)
    loaded = models.get(one)
    weights = in_precision(weights_of(platform, 2), ServingPrecision.BF16)
    other = platform.artifacts.put(weights.to_bytes())
    monkeypatch.setattr(opening, "release_of", lambda _: None)
    monkeypatch.setattr(AliasFollower, "_named", lambda _: [other, one])
    with pytest.raises(EngineUnavailable):
        models.get(other)
    AliasFollower(platform, models).look()
    assert models.get(one) is loaded


def test_aliases_are_followed_as_far_as_the_bytes_go_and_push_nobody_out(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = [store(platform, seed) for seed in (1, 2, 3)]  # the latest move first
    models = live_models(platform, versions=2)
    monkeypatch.setattr(AliasFollower, "_named", lambda _: [moved[0], moved[0], *moved[1:]])
    follower = AliasFollower(platform, models)
    follower.look()
    assert models.digests() == sorted(moved[:2])
    loaded = [models.get(digest) for digest in moved[:2]]
    follower.look()
    assert [models.get(digest) for digest in moved[:2]] == loaded  # the very same, not read again


TEXTS = [
    f"a photo of the number {number} and of {'many ' * (number % 5)}others."
    for number in range(600)
]


def test_long_class_lists_go_through_the_text_tower_in_parts_with_the_same_features(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clip = TorchModel(tiny_clip(1))
    at_once = clip.encode_tokens(clip.tokenizer.rows(TEXTS))
    parts: list[int] = []
    encode = TorchModel.encode_tokens

    def counted(self: TorchModel, tokens: np.ndarray) -> Floats:
        parts.append(len(tokens))
        return encode(self, tokens)

    monkeypatch.setattr(TorchModel, "encode_tokens", counted)
    batcher = MicroBatcher()
    features = TextFeatures(batcher, max_bytes=10**6).of(DIGEST, clip, TEXTS)
    batcher.close()

    assert parts == [TEXTS_AT_ONCE, TEXTS_AT_ONCE, 600 - 2 * TEXTS_AT_ONCE]
    # Each feature is at most 1; its sums have some hundred terms, each rounded to 2^-24.
    np.testing.assert_allclose(features, at_once, atol=100 * 2**-24, rtol=0)


def test_what_goes_live_is_loaded_within_a_second(client: TestClient, platform: Platform) -> None:
    ensure_default_policy(platform)
    for number in (1, 2):
        weights = weights_of(platform, number)
        a_root(platform, f"model-{number}", weights=weights)
        wait_for(
            lambda wanted=weights.digest: wanted in client.get("/loaded").json()["digests"],
            seconds=5,
        )


@pytest.mark.parametrize("fault", [RuntimeError("no luck"), ArtifactsUnavailable("no luck")])
def test_version_that_cannot_be_loaded_keeps_no_other_from_going_live(
    platform: Platform,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: Exception,
) -> None:
    class Unlucky(ModelCache):
        def get(self, digest: Digest) -> ServedModel:
            raise fault

    models = Unlucky(platform.artifacts, partial(opened_by_torch, platform), max_bytes=1)
    follower = AliasFollower(platform, models)
    digest = store(platform, 1)
    monkeypatch.setattr(AliasFollower, "_named", lambda _: [digest])
    follower.look()
    follower.look()
    assert caplog.text.count("no luck") == 1


def test_the_follower_passes_over_an_alias_whose_model_is_deleted_as_it_looks(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_default_policy(platform)
    model = a_root(platform)
    with platform.transactions(read_only=True) as work:
        (alias,) = work[Aliases].all()
        digest = work[Versions].get(model.id, 1).digest
    gone = replace(alias, model=ModelId("model_gone"))
    models = ModelCache(platform.artifacts, partial(opened_by_torch, platform), max_bytes=1)
    monkeypatch.setattr(Aliases, "all", lambda _: [gone, alias])
    assert set(AliasFollower(platform, models)._named()) == {digest}


def test_the_newest_version_and_the_candidate_of_a_trial_are_loaded_before_they_are_asked(
    platform: Platform,
) -> None:
    ensure_default_policy(platform)
    model = a_root(platform, weights=weights_of(platform, 1))
    with platform.transactions() as work:
        root = work[Versions].get(model.id, 1)
        job = a_job(model)
        work[Jobs].add(job)
        made = [a_version(job, number, digest=store(platform, number)) for number in (2, 3, 4)]
        for version in made:
            work[Versions].add(version)
        work[Trials].start(a_trial(model=model.id), work[Aliases].get(model.id, "production"))
        work.commit()
    models = ModelCache(platform.artifacts, partial(opened_by_torch, platform), max_bytes=10**9)
    AliasFollower(platform, models).look()
    candidate, _, newest = made
    assert set(models.digests()) == {root.digest, candidate.digest, newest.digest}
