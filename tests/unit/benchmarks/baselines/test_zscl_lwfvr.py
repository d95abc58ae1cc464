"""ZSCL's LwF-VR: fixed sentences, and the image tower alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from benchmarks.baselines import LENGTH, SENTENCES, ZsclLwfVr
from core.learning.vocabulary import RandomSentences
from core.training.trainer import TrainingSpec
from tests.support.learning.lessons import Watching, red_and_blue
from tests.support.learning.train_baselines import prepared, train
from tests.support.memory_artifacts import MemoryArtifacts

torch.set_num_threads(1)


@pytest.fixture
def artifacts() -> MemoryArtifacts:
    return MemoryArtifacts()


@pytest.fixture
def spec(artifacts: MemoryArtifacts) -> TrainingSpec:
    return replace(red_and_blue(artifacts), learned=("green",))


def test_its_sentences_are_drawn_once(
    artifacts: MemoryArtifacts, spec: TrainingSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    draw = RandomSentences.draw

    def counted(self: RandomSentences, generator: torch.Generator) -> Tensor:
        drawn.append(draw(self, generator))
        return drawn[-1]

    monkeypatch.setattr(RandomSentences, "draw", counted)
    monitor = Watching()
    train("zscl_lwfvr", artifacts, spec, monitor)
    assert len(monitor.terms) > 1
    (tokens,) = drawn
    assert tokens.shape[0] == SENTENCES
    assert (tokens[:, LENGTH - 1] == 49407).all()
    assert (tokens[:, LENGTH:] == 0).all()


def test_its_distillation_reaches_the_image_tower_alone(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    update, data = prepared("zscl_lwfvr", artifacts, spec)
    method = update._gradients.method
    assert isinstance(method, ZsclLwfVr)
    update.advance(next(data))
    step = next(data)
    texts = update.models.texts(update.models.class_tokens[:0], (update.models.class_tokens[:0],))
    batch = update.models.batch(step.pixels, step.target, texts)
    ce, images, sentences = method.terms()
    assert (ce.name, images.name, sentences.name) == ("ce", "zscl_i", "zscl_t")
    (images.loss(batch) + sentences.loss(batch)).backward()
    texts.backward()
    reached = {name for name, p in update.models.parameters.items() if p.grad is not None}
    assert reached
    assert all(name.startswith("visual.") for name in reached)
