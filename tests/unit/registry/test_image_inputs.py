"""Inputs of image towers that are remembered."""

import pytest

from core.errors import NotServable
from core.images.inputs import ImageInput
from core.registry import read as image_inputs
from core.registry.read import ImageInputs
from core.registry.versions import Weights
from core.values import Digest
from tests.support.memory_artifacts import MemoryArtifacts


def test_the_last_ones_read_are_known_without_their_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(image_inputs, "KNOWN", 4)
    artifacts = MemoryArtifacts()
    inputs = ImageInputs(artifacts)
    digests = []
    for side in range(1, 7):
        config = {"model_cfg": {"vision_cfg": {"image_size": side}}}
        digests.append(artifacts.put(Weights(config=config, tensors=()).to_bytes()))
        assert inputs.known(digests[-1]) is None
        assert inputs.of(digests[-1]) == ImageInput(height=side, width=side)
    artifacts.bytes_of.clear()
    known = [found.height for digest in digests if (found := inputs.known(digest))]
    assert known == [3, 4, 5, 6]
    assert inputs.of(digests[-1]).height == 6


def test_a_version_without_weights_is_not_servable() -> None:
    with pytest.raises(NotServable):
        ImageInputs(MemoryArtifacts()).of(Digest("0" * 64))
