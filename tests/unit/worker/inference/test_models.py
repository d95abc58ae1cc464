"""Versions in memory: what is kept within its bytes, loaded before it is asked, and traced."""

import gc
import weakref
from dataclasses import replace
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient
from torch import Tensor, nn

from core.clip.bases import BUNDLED, read_folder
from core.clip.model import ClipModel
from core.errors import ArtifactsUnavailable
from core.gate.policies import ensure_default_policy
from core.inference.wire import TEXTS_AT_ONCE
from core.jobs.rows import Jobs
from core.platform import Platform
from core.registry.alias_rows import Aliases
from core.registry.rows import Versions
from core.trials.rows import Trials
from core.values import Digest, ModelId
from tests.support.api.seeds import a_root
from tests.support.factories import a_job, a_trial, a_version
from tests.support.learning.tiny_clip import tiny_clip, tiny_config
from tests.support.processes import wait_for
from tests.unit.worker.inference.conftest import store, weights_of
from worker.inference.classifier import MicroBatcher, TextFeatures
from worker.inference.models import AliasFollower, ModelCache, TracedModel, Traces

DIGEST = Digest("0" * 64)


def live_models(platform: Platform, *, versions: float) -> ModelCache:
    """Room for so many versions, all of one size."""
    one = sum(tensor.nbytes for tensor in tiny_clip(0).network.state_dict().values())
    return ModelCache(platform.artifacts, torch.device("cpu"), max_bytes=int(one * versions))


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

    def load(*_: object) -> ClipModel:
        beside.append(models.digests())
        return tiny_clip(2)

    monkeypatch.setattr("worker.inference.models.load", load)
    models.get(two)
    assert beside == [[]]


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
    clip = tiny_clip(1)
    with torch.inference_mode():
        at_once = clip.encode_texts(TEXTS)
    parts: list[int] = []
    encode = ClipModel.encode_tokens

    def counted(self: ClipModel, tokens: Tensor) -> Tensor:
        parts.append(len(tokens))
        return encode(self, tokens)

    monkeypatch.setattr(ClipModel, "encode_tokens", counted)
    batcher = MicroBatcher()
    features = TextFeatures(batcher, max_bytes=10**6).of(DIGEST, clip, TEXTS)
    batcher.close()

    assert parts == [TEXTS_AT_ONCE, TEXTS_AT_ONCE, 600 - 2 * TEXTS_AT_ONCE]
    # Each feature is at most 1; its sums have some hundred terms, each rounded to 2^-24.
    torch.testing.assert_close(features, at_once, atol=100 * 2**-24, rtol=0)


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
        def get(self, digest: Digest) -> ClipModel:
            raise fault

    models = Unlucky(platform.artifacts, torch.device("cpu"), max_bytes=1)
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
    models = ModelCache(platform.artifacts, torch.device("cpu"), max_bytes=1)
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
    models = ModelCache(platform.artifacts, torch.device("cpu"), max_bytes=10**9)
    AliasFollower(platform, models).look()
    candidate, _, newest = made
    assert set(models.digests()) == {root.digest, candidate.digest, newest.digest}


CPU = torch.device("cpu")


def pixels_of(model: ClipModel, images: int) -> Tensor:
    height, width = model.preprocess.size
    return torch.randint(0, 256, (images, 3, height, width), dtype=torch.uint8)


def bundled(change: float = 0.0) -> ClipModel:
    """The bundled model, with its weights changed a little."""
    config, network = read_folder(BUNDLED)
    torch.manual_seed(1)
    state = {
        name: tensor + change * torch.randn_like(tensor) if tensor.is_floating_point() else tensor
        for name, tensor in network.state_dict().items()
    }
    return ClipModel.build(config, state, CPU).freeze()


def test_all_versions_of_an_architecture_share_a_trace_that_gives_their_own_features() -> None:
    traces = Traces()
    first, second = bundled(), bundled(0.01)
    quick = [traces.apply(first), traces.apply(second)]

    assert [type(one) for one in quick] == [TracedModel, TracedModel]
    with torch.inference_mode():
        for images in (1, 2, 5, 17):
            pixels = pixels_of(first, images)
            theirs = [first.encode_images(pixels), second.encode_images(pixels)]
            assert not torch.equal(*theirs)
            for given, expected in zip(quick, theirs, strict=True):
                assert torch.equal(given.encode_images(pixels), expected)


def test_other_preprocessing_has_a_trace_of_its_own() -> None:
    traces = Traces()
    changed = tiny_config()
    changed["preprocess_cfg"] = changed["preprocess_cfg"] | {"mean": [0.1, 0.2, 0.3]}
    models = [tiny_clip(1).freeze(), tiny_clip(1, changed).freeze()]

    with torch.inference_mode():
        pixels = pixels_of(models[0], 2)
        expected = [model.encode_images(pixels) for model in models]
        found = [traces.apply(model).encode_images(pixels) for model in models]

    assert not torch.equal(*expected)
    assert all(map(torch.equal, found, expected))


def test_a_trace_keeps_no_version_in_memory() -> None:
    traces = Traces()
    model = tiny_clip(1).freeze()
    kept = [weakref.ref(tensor) for tensor in model.network.state_dict(keep_vars=True).values()]
    traces.apply(model)
    del model
    gc.collect()

    assert not any(tensor() is not None for tensor in kept)


def test_one_thread_is_used_if_it_gives_the_features_that_several_give() -> None:
    before, model = torch.get_num_threads(), bundled()
    images = [pixels_of(model, 1) for _ in range(5)]

    def features(encoding: ClipModel, threads: int) -> list[Tensor]:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            return [encoding.encode_images(one) for one in images]

    try:
        expected = features(model, 2)
        quick = Traces().apply(model)
        assert all(map(torch.equal, features(quick, 2), expected))
        equal = all(map(torch.equal, features(model, 1), expected))
    finally:
        torch.set_num_threads(before)
    assert isinstance(quick, TracedModel)
    assert quick.trace.alone is equal


@pytest.mark.parametrize("kind", ["refuses", "depends"])
def test_an_image_tower_whose_trace_is_not_exact_is_served_without(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Tower(nn.Module):
        """Computes something else for a batch of one than what a trace of two records."""

        def __init__(self, tower: Any) -> None:
            super().__init__()
            self.tower, self.image_size = tower, tower.image_size

        def forward(self, inputs: Tensor) -> Tensor:
            if kind == "refuses" and torch.jit.is_tracing():  # type: ignore[attr-defined]
                raise RuntimeError("no trace of this")
            features: Tensor = self.tower(inputs)
            return features.abs() if len(inputs) == 1 else features

    model = tiny_clip(1).freeze()
    model.network.visual = Tower(model.network.visual)

    assert Traces().apply(model) is model
    assert "trace" in caplog.text
