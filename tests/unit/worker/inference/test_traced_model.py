"""Traces of image towers: the same features to the bit, for every version of an architecture."""

import gc
import weakref
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.clip.bases import BUNDLED, read_folder
from core.clip.model import ClipModel
from tests.support.learning.tiny_clip import tiny_clip, tiny_config
from worker.inference.models import Trace, TracedModel, Traces

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


def test_a_single_image_is_encoded_by_one_thread_and_several_by_all() -> None:
    threads: list[int] = []

    def encode(pixels: Tensor, _: Sequence[Tensor]) -> Tensor:
        threads.append(torch.get_num_threads())
        if not pixels.any():
            raise RuntimeError("a call that fails")
        return pixels

    model, before = tiny_clip(1).freeze(), torch.get_num_threads()
    alone, together = (
        TracedModel(model, Trace(encode=encode, alone=alone)) for alone in (True, False)
    )
    torch.set_num_threads(3)
    try:
        alone.encode_images(pixels_of(model, 1))
        with pytest.raises(RuntimeError):
            alone.encode_images(torch.zeros(1))
        alone.encode_images(pixels_of(model, 2))
        together.encode_images(pixels_of(model, 1))
    finally:
        torch.set_num_threads(before)
    assert threads == [1, 1, 3, 3]


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


def test_a_single_image_that_takes_long_is_encoded_by_all_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.inference.models.ONE_THREAD", 1)
    large = Traces().apply(tiny_clip(1).freeze())
    assert isinstance(large, TracedModel)
    assert not large.trace.alone


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
            if kind == "refuses" and torch.jit.is_tracing():
                raise RuntimeError("no trace of this")
            features: Tensor = self.tower(inputs)
            return features.abs() if len(inputs) == 1 else features

    model = tiny_clip(1).freeze()
    model.network.visual = Tower(model.network.visual)

    assert Traces().apply(model) is model
    assert "trace" in caplog.text


def test_a_large_image_tower_is_served_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_clip(1).freeze()
    weights = sum(tensor.numel() for tensor in model.visual.state_dict().values())

    monkeypatch.setattr("worker.inference.models.MAX_WEIGHTS", weights - 1)
    assert Traces().apply(model) is model
    monkeypatch.setattr("worker.inference.models.MAX_WEIGHTS", weights)
    assert isinstance(Traces().apply(model), TracedModel)
