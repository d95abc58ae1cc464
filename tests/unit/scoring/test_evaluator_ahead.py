"""Evaluation decodes ahead of the model: the same images, and nothing left behind."""

from __future__ import annotations

import io
import threading

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from core.clip.inputs import read_image
from core.clip.model import ClipModel
from core.datasets.manifests import ManifestEntry
from core.errors import ArtifactMissing, CancelRequested
from core.evaluation.queries import ClassAnswers, ClassQuery
from core.recipes.fields import DEFAULT_PROMPT
from core.scoring.evaluator import VersionEvaluator, predict
from tests.support.learning.lessons import Watching
from tests.support.learning.tiny_clip import tiny_clip
from tests.support.memory_artifacts import MemoryArtifacts

IMAGES, BATCH = 7, 3


class Seeing(ClipModel):
    """Remembers the batches of pixels that it encoded."""

    seen: list[Tensor]

    def encode_images(self, pixels: Tensor) -> Tensor:
        self.seen.append(pixels)
        return super().encode_images(pixels)


class Cancelled(Watching):
    """Is told to stop once `done` images and texts are encoded."""

    done = 4

    def advance(self, phase: str, step: int, total: int, terms: object = None) -> None:
        if step >= self.done:
            raise CancelRequested


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def artifacts() -> MemoryArtifacts:
    return MemoryArtifacts()


@pytest.fixture
def model() -> Seeing:
    plain = tiny_clip()
    model = Seeing(network=plain.network, config=plain.config)
    model.seen = []
    model.freeze()
    return model


@pytest.fixture
def question(artifacts: MemoryArtifacts) -> ClassQuery:
    noise = np.random.default_rng(0)
    entries = []
    for index in range(IMAGES):
        out = io.BytesIO()
        pixels = noise.integers(0, 256, (20 + index, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(out, "WEBP", lossless=True)
        digest = artifacts.put(out.getvalue())
        entries.append(ManifestEntry(pixels=digest, artifact=digest, texts=("bag",)))
    return ClassQuery(entries=tuple(entries), classes=("bag", "coat"), prompt=DEFAULT_PROMPT)


def evaluator(artifacts: MemoryArtifacts) -> VersionEvaluator:
    return VersionEvaluator(artifacts, device=torch.device("cpu"), threads=1, batch=BATCH)


def threads_of_ahead() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_the_model_sees_every_image_as_if_decoded_on_the_spot(
    artifacts: MemoryArtifacts, model: Seeing, question: ClassQuery
) -> None:
    (answers,) = evaluator(artifacts).ask(model, [question], Watching())

    direct = torch.stack(
        [
            model.preprocess.evaluation_pixels(read_image(artifacts.get(entry.artifact)))
            for entry in question.entries
        ]
    )
    assert [len(batch) for batch in model.seen] == [3, 3, 1]
    assert torch.equal(torch.cat(model.seen), direct)
    with torch.inference_mode():
        features = torch.cat([model.encode_images(part) for part in direct.split(BATCH)])
        classes = model.encode_texts(DEFAULT_PROMPT.fill_all(question.classes))
    assert answers == ClassAnswers(predicted=predict(features, classes))


def test_an_image_that_is_gone_ends_the_evaluation_and_its_thread(
    artifacts: MemoryArtifacts, model: Seeing, question: ClassQuery
) -> None:
    artifacts.delete(question.entries[5].artifact)
    with pytest.raises(ArtifactMissing):
        evaluator(artifacts).ask(model, [question], Watching())
    assert len(model.seen) == 1
    assert not threads_of_ahead()


def test_a_cancelled_evaluation_leaves_no_thread(
    artifacts: MemoryArtifacts, model: Seeing, question: ClassQuery
) -> None:
    with pytest.raises(CancelRequested):
        evaluator(artifacts).ask(model, [question], Cancelled())
    assert len(model.seen) == 1
    assert not threads_of_ahead()
