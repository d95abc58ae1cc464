"""What the inference process keeps, bounded by bytes, and how it computes long class lists."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from core.artifacts.local import LocalArtifacts
from core.artifacts.store import Artifacts
from core.bootstrap import migrate, opened
from core.clip.model import ClipModel, publish
from core.inference.wire import TEXTS_AT_ONCE
from core.settings import Settings
from core.values import Digest
from tests.support.learning.tiny_clip import tiny_clip
from worker.inference.classifier import MicroBatcher, TextFeatures
from worker.inference.models import AliasFollower, ByteLimitedCache, ModelCache

DIGEST = Digest("0" * 64)


def store(artifacts: Artifacts, seed: int) -> Digest:
    """A version's weights in the artifact store."""
    clip = tiny_clip(seed)
    return publish(
        clip.config, clip.network.state_dict(), artifacts, lambda done, total: None
    ).digest


@pytest.fixture
def artifacts(tmp_path: Path) -> LocalArtifacts:
    return LocalArtifacts(tmp_path)


def live_models(artifacts: Artifacts, *, versions: float) -> ModelCache:
    """Room for so many versions, all of one size."""
    one = sum(tensor.nbytes for tensor in tiny_clip(0).network.state_dict().values())
    return ModelCache(artifacts, torch.device("cpu"), max_bytes=int(one * versions))


def test_versions_are_kept_as_far_as_their_bytes_go(artifacts: LocalArtifacts) -> None:
    models = live_models(artifacts, versions=2.5)
    one, two, three = (store(artifacts, seed) for seed in (1, 2, 3))

    for digest in (one, two, one, three):
        models.get(digest)

    assert models.digests() == sorted([one, three])  # two was used least recently


def test_a_version_that_is_larger_than_the_bound_is_served_alone(artifacts: LocalArtifacts) -> None:
    models = live_models(artifacts, versions=0.5)
    one, two = store(artifacts, 1), store(artifacts, 2)
    models.get(one)
    models.get(two)
    assert models.digests() == [two]


def test_room_is_made_before_the_next_version_takes_its_memory(
    artifacts: LocalArtifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = live_models(artifacts, versions=1)
    one, two = store(artifacts, 1), store(artifacts, 2)
    models.get(one)
    beside: list[list[Digest]] = []

    def load(*_: object) -> ClipModel:
        beside.append(models.digests())
        return tiny_clip(2)

    monkeypatch.setattr("worker.inference.models.load", load)
    models.get(two)
    assert beside == [[]]


def test_aliases_are_followed_as_far_as_the_bytes_go_and_push_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path)
    migrate(settings)
    with opened(settings) as platform:
        moved = [store(platform.artifacts, seed) for seed in (1, 2, 3)]  # the latest move first
        models = live_models(platform.artifacts, versions=2)
        monkeypatch.setattr(AliasFollower, "_named", lambda _: [moved[0], moved[0], *moved[1:]])
        follower = AliasFollower(platform, models)
        follower.look()
        assert models.digests() == sorted(moved[:2])
        loaded = [models.get(digest) for digest in moved[:2]]
        follower.look()
    assert [models.get(digest) for digest in moved[:2]] == loaded  # the very same, not read again


def test_kept_values_take_no_more_bytes_than_allowed() -> None:
    kept: ByteLimitedCache[str, int] = ByteLimitedCache(max_bytes=10)
    for key, size in (("a", 4), ("b", 4), ("a", 2), ("c", 4), ("d", 1)):
        kept.put(key, size, size)
    assert kept.keys() == ["a", "c", "d"]
    assert kept.get("a") == 2
    kept.put("e", 4, 4)
    assert kept.keys() == ["d", "a", "e"]


class Watched(MicroBatcher):
    """Counts the turns on the device."""

    turns = 0

    def run(self, work):  # type: ignore[no-untyped-def]
        self.turns += 1
        return super().run(work)


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


def test_features_of_class_lists_are_kept_as_far_as_their_bytes_go() -> None:
    clip = tiny_clip(1)
    batcher = Watched()
    texts = TextFeatures(batcher, max_bytes=2 * 10 * 16 * 4)  # two lists of ten texts, width 16
    first, second, third = (TEXTS[begin : begin + 10] for begin in (0, 10, 20))
    for asked, turns in ((first, 1), (second, 2), (first, 2), (third, 3), (first, 3), (second, 4)):
        texts.of(DIGEST, clip, asked)
        assert batcher.turns == turns
    batcher.close()
