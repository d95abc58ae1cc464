"""The training images: every batch a function of seed, epoch and indices alone."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from core.clip.inputs import Preprocess, read_image
from core.datasets.manifests import ManifestEntry
from core.learning.data import TrainingImages
from tests.support.memory_artifacts import MemoryArtifacts

SIDE = 16

IMAGES = 12

PREPROCESS = Preprocess.of({}, SIDE)

Stored = tuple[MemoryArtifacts, list[ManifestEntry]]


@pytest.fixture(scope="module")
def stored() -> Stored:
    """Noise in twelve shapes."""
    artifacts, noise = MemoryArtifacts(), np.random.default_rng(0)
    entries = []
    for index in range(IMAGES):
        pixels = noise.integers(0, 256, (20 + index, 40 - index, 3), dtype=np.uint8)
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "WEBP", lossless=True)
        digest = artifacts.put(out.getvalue())
        entries.append(ManifestEntry(pixels=digest, artifact=digest, texts=("noise",)))
    return artifacts, entries


def images(stored: Stored, *, augment: bool = True, cache_bytes: int = 2**30) -> TrainingImages:
    artifacts, entries = stored
    return TrainingImages(
        entries, artifacts, PREPROCESS, seed=3, augment=augment, cache_bytes=cache_bytes
    )


def window(pixels: Tensor, seed: int, epoch: int, index: int) -> Tensor:
    """The crop by its definition: three numbers of a generator that the image's turn names."""
    chance = Random(f"{seed}:{epoch}:{index}")
    top = int(chance.random() * (pixels.shape[1] - SIDE + 1))
    left = int(chance.random() * (pixels.shape[2] - SIDE + 1))
    cut = pixels[:, top : top + SIDE, left : left + SIDE]
    return cut.flip(2) if chance.random() < 0.5 else cut


def test_crops_are_those_that_seed_epoch_and_index_name(stored: Stored) -> None:
    artifacts, entries = stored
    for epoch in range(3):
        batch = images(stored).batch(range(IMAGES), epoch=epoch)
        for index, entry in enumerate(entries):
            pixels = PREPROCESS.training_pixels(read_image(artifacts.get(entry.artifact)))
            assert torch.equal(batch[index], window(pixels, 3, epoch, index))


def test_without_augmentation_every_epoch_sees_the_evaluation_pixels(stored: Stored) -> None:
    artifacts, entries = stored
    batch = images(stored, augment=False).batch([4, 1], epoch=7)
    for row, index in enumerate((4, 1)):
        image = read_image(artifacts.get(entries[index].artifact))
        assert torch.equal(batch[row], PREPROCESS.evaluation_pixels(image))


@pytest.mark.parametrize("room", [0, 4000, 2**30])
def test_a_batch_is_the_same_whatever_the_cache_holds(stored: Stored, room: int) -> None:
    kept, fresh = images(stored, cache_bytes=room), images(stored, cache_bytes=0)
    for epoch in range(2):
        order = [(5 * n) % IMAGES for n in range(IMAGES)]
        assert torch.equal(kept.batch(order, epoch=epoch), fresh.batch(order, epoch=epoch))


def test_a_batch_that_is_changed_leaves_the_next_one_alone(stored: Stored) -> None:
    source = images(stored, augment=False)
    source.batch([0], epoch=0).zero_()
    assert source.batch([0], epoch=0).any()


def test_two_threads_share_the_cache_without_outgrowing_it(stored: Stored) -> None:
    source, alone = images(stored, cache_bytes=6000), images(stored)
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda epoch: source.batch(range(IMAGES), epoch=epoch), range(8)))
    for epoch, batch in enumerate(made):
        assert torch.equal(batch, alone.batch(range(IMAGES), epoch=epoch))
    cache = source._decoded
    assert 0 <= cache._room < 6000
    assert sum(pixels.nbytes for pixels in cache._known.values()) == 6000 - cache._room
