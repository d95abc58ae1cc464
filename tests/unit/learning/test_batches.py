"""The images of each step, and which images of earlier updates are among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch
from torch import Tensor

from core.clip.inputs import DecodedImages, Preprocess, read_image
from core.clip.model import load
from core.datasets.manifests import ManifestEntry
from core.images.views import View
from core.learning.data import BatchSampler, TrainingImages, choose_exemplars, herd
from core.recipes.fields import ExemplarChoice, Method, ModelPart, Precision
from core.recipes.rules import Recipe
from core.training.trainer import TrainingSpec
from tests.support.factories import an_entry, digest
from tests.support.learning.lessons import noise_image, prepared, red_and_blue, square, with_recipe
from tests.support.memory_artifacts import MemoryArtifacts

SIDE = 16

IMAGES = 12

PREPROCESS = Preprocess.of({}, SIDE)

Stored = tuple[MemoryArtifacts, list[ManifestEntry]]


@pytest.fixture(scope="module")
def stored() -> Stored:
    """Noise in twelve shapes."""
    artifacts = MemoryArtifacts()
    return artifacts, [
        noise_image(artifacts, index, "noise", size=(20 + index, 40 - index))
        for index in range(IMAGES)
    ]


def images(stored: Stored, *, augment: bool = True, cache_bytes: int = 2**30) -> TrainingImages:
    artifacts, entries = stored
    return TrainingImages(
        entries, artifacts, PREPROCESS, seed=3, augment=augment, cache_bytes=cache_bytes
    )


def batch_of(source: TrainingImages, indices: Iterable[int], epoch: int) -> Tensor:
    return source.batch([(index, epoch) for index in indices])


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
        batch = batch_of(images(stored), range(IMAGES), epoch)
        for index, entry in enumerate(entries):
            pixels = PREPROCESS.training_pixels(read_image(artifacts.get(entry.artifact)))
            assert torch.equal(batch[index], window(pixels, 3, epoch, index))


def test_without_augmentation_every_epoch_sees_the_evaluation_pixels(stored: Stored) -> None:
    artifacts, entries = stored
    batch = batch_of(images(stored, augment=False), [4, 1], 7)
    for row, index in enumerate((4, 1)):
        image = read_image(artifacts.get(entries[index].artifact))
        assert torch.equal(batch[row], PREPROCESS.evaluation_pixels(image))


@pytest.mark.parametrize("room", [0, 4000, 2**30])
def test_a_batch_is_the_same_whatever_the_cache_holds(stored: Stored, room: int) -> None:
    kept, fresh = images(stored, cache_bytes=room), images(stored, cache_bytes=0)
    for epoch in range(2):
        order = [(5 * n) % IMAGES for n in range(IMAGES)]
        assert torch.equal(batch_of(kept, order, epoch), batch_of(fresh, order, epoch))


def test_a_batch_that_is_changed_leaves_the_next_one_alone(stored: Stored) -> None:
    source = images(stored, augment=False)
    batch_of(source, [0], 0).zero_()
    assert batch_of(source, [0], 0).any()


def test_two_threads_share_the_cache_without_outgrowing_it(stored: Stored) -> None:
    source, alone = images(stored, cache_bytes=6000), images(stored)
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda epoch: batch_of(source, range(IMAGES), epoch), range(8)))
    for epoch, batch in enumerate(made):
        assert torch.equal(batch, batch_of(alone, range(IMAGES), epoch))
    cache = source._decoded
    assert 0 <= cache._room < 6000
    assert sum(pixels.nbytes for pixels in cache._known.values()) == 6000 - cache._room


def test_an_image_and_its_views_are_read_once(stored: Stored) -> None:
    artifacts, (entry, *_) = stored
    decoded = DecodedImages(artifacts, PREPROCESS.evaluation_pixels)
    views = [View(number=number, mirror=True) for number in (1, 2)]
    whole, fewer = decoded.with_views(entry, views), decoded.with_views(entry, views[:1])
    alone = decoded.of(entry)
    artifacts.delete(entry.artifact)
    assert [whole.shape[0], fewer.shape[0], alone.ndim] == [3, 2, 3]
    assert np.array_equal(decoded.with_views(entry, views), whole)
    assert np.array_equal(whole[:2], fewer)
    assert np.array_equal(whole[0], decoded.of(entry))


RECIPE = Recipe(
    method=Method.VRLWF,
    batch_size=4,
    exemplar_batch=3,
    epochs=5,
    precision=Precision.FP32,
    seed=2,
)


def sampler(**changes: int) -> BatchSampler:
    return BatchSampler(RECIPE, **{"images": 10, "exemplars": 7, "reference": 9, **changes})


def test_an_epoch_passes_once_over_the_images_and_drops_a_last_partial_batch() -> None:
    made = sampler()
    assert made.steps == 10
    for epoch in range(5):
        steps = [step for step in range(10) if made.epoch(step) == epoch]
        seen = [index for step in steps for index in made.images(step)]
        assert len(seen) == len(set(seen)) == 8
        assert set(seen) <= set(range(10))


@pytest.mark.parametrize(
    ("kind", "first", "size", "each"), [("exemplars", 10, 7, 3), ("reference", 17, 9, 4)]
)
def test_every_step_has_some_and_all_are_seen_before_any_comes_again(
    kind: str, first: int, size: int, each: int
) -> None:
    made = sampler()
    steps = [getattr(made, kind)(step) for step in range(30)]
    stream = [index for step in steps for index in step]
    assert {len(step) for step in steps} == {each}
    assert set(stream) == set(range(first, first + size))
    for start in range(0, len(stream) - size + 1, size):
        assert len(set(stream[start : start + size])) == size
    assert max(Counter(stream).values()) - min(Counter(stream).values()) <= 1
    assert getattr(sampler(**{kind: 0}), kind)(0) == []


def test_fewer_exemplars_than_asked_for_all_join_every_batch() -> None:
    made = sampler(exemplars=2)
    assert all(sorted(made.exemplars(step)) == [10, 11] for step in range(10))


def test_without_a_batch_of_their_own_exemplars_are_in_the_epoch() -> None:
    recipe = replace(RECIPE, exemplar_batch=0, epochs=2)
    made = BatchSampler(recipe, images=10, exemplars=6, reference=0)
    assert (made.steps, made.learned) == (8, 4)
    for epoch in range(2):
        steps = [step for step in range(8) if made.epoch(step) == epoch]
        assert sorted(index for step in steps for index in made.images(step)) == [*range(16)]
        assert all(made.exemplars(step) == [] for step in steps)
    few = BatchSampler(replace(recipe, epochs=1), images=1, exemplars=7, reference=0)
    assert (few.steps, few.batch_size) == (2, 4)


def replaying(artifacts: MemoryArtifacts, **recipe: object) -> TrainingSpec:
    spec = with_recipe(red_and_blue(artifacts), method=Method.REPLAY, exemplar_batch=3, **recipe)
    return replace(spec, learned=("Green",))


def test_batches_hold_exemplars_of_the_lines_classes_under_their_own_class(
    artifacts: MemoryArtifacts,
) -> None:
    spec = replaying(artifacts)
    stranger = square(artifacts, "grey", (120, 120, 120))  # of a class that the line has not
    reading = prepared(artifacts, replace(spec, exemplars=(*spec.exemplars, stranger))).reading
    assert reading.count == 10 + 4
    for step in range(reading.sampler.steps):
        data = reading.step(step)
        assert data.pixels.shape == (4 + 3, 3, 16, 16)
        strongest = data.pixels.float().mean(dim=(2, 3)).argmax(dim=1)
        red, green, blue = 1, 2, 0  # columns: the update's classes as given, then those learned
        of_channel = torch.tensor([red, green, blue])
        assert torch.equal(data.target, of_channel[strongest])
        assert (data.target == green).tolist() == [False] * 4 + [True] * 3


def test_features_that_are_known_are_those_of_a_steps_own_images_and_exemplars(
    artifacts: MemoryArtifacts,
) -> None:
    """Read ahead, block by block, and found again by index."""
    recipe = {"part": ModelPart.TEXT, "augment": False, "precision": Precision.FP32}
    spec = replaying(artifacts, **recipe)
    made = prepared(artifacts, spec)
    model = load(spec.parent, artifacts)
    for step in range(made.reading.sampler.steps):
        data = made.reading.step(step)
        with torch.no_grad():
            prompts = model.encode_texts(spec.prompt.fill_all(("blue", "red", "green")))
            pixels = torch.cat([made.reading.whole(int(i), int(i) + 1) for i in data.indices])
            logits = model.scale * model.encode_images(pixels) @ prompts.T
        expected = torch.nn.functional.cross_entropy(logits, data.target)
        assert not data.pixels.numel()
        assert made.update.gradients(data)["ce"] == pytest.approx(expected.item(), rel=1e-5)


def rows(count: int, seed: int = 0, width: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(count, width, generator=generator) + 0.5
    return torch.nn.functional.normalize(drawn, dim=1)


def entries(**counts: int) -> list[ManifestEntry]:
    """So many images of each class, the classes interleaved."""
    named = [
        (number, name.replace("_", " "), an_entry(pixels=one, artifact=one, texts=(name,)))
        for name, count in counts.items()
        for number in range(count)
        for one in [digest((name, number))]
    ]
    return [entry for _, _, entry in sorted(named, key=lambda row: row[:2])]


def encode(images: Sequence[ManifestEntry]) -> Tensor:
    """Random features, the same for an image wherever it stands."""
    return torch.cat([rows(1, seed=int(image.pixels[:8], 16)) for image in images])


def chosen(
    candidates: Sequence[ManifestEntry],
    count: int = 1000,
    choice: ExemplarChoice = ExemplarChoice.HERDING,
    seed: int = 0,
) -> tuple[ManifestEntry, ...]:
    return choose_exemplars(candidates, encode, count=count, choice=choice, seed=seed)


def greedy_by_hand(features: Tensor, count: int) -> list[int]:
    """iCaRL's choice: each next image brings the mean of those chosen nearest to the class's."""
    points = features.double().tolist()
    mean = [sum(axis) / len(points) for axis in zip(*points, strict=True)]
    kept: list[int] = []
    while len(kept) < count:

        def distance(index: int) -> float:
            group = [points[one] for one in (*kept, index)]
            centre = [sum(axis) / len(group) for axis in zip(*group, strict=True)]
            return sum((a - b) ** 2 for a, b in zip(mean, centre, strict=True))

        kept.append(min((i for i in range(len(points)) if i not in kept), key=distance))
    return kept


@pytest.mark.parametrize("seed", range(5))
def test_herding_is_the_greedy_choice_by_hand(seed: int) -> None:
    features = rows(12, seed)
    assert herd(features, 7) == greedy_by_hand(features, 7)


def test_herding_takes_no_image_twice_and_no_more_than_there_are() -> None:
    same = torch.ones(4, 3)
    assert herd(same, 3) == [0, 1, 2]
    assert sorted(herd(rows(5), 9)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("choice", ExemplarChoice)
@pytest.mark.parametrize(
    ("images", "count", "kept"),
    [
        ({"okapi": 20, "ibis": 5, "newt": 9}, 10, {"okapi": 3, "ibis": 3, "newt": 3}),
        ({"okapi": 60, "ibis": 2}, 1000, {"okapi": 60, "ibis": 2}),
        ({"okapi": 60, "ibis": 2}, 10, {"okapi": 5, "ibis": 2}),
        ({"okapi": 4, "ibis": 4, "newt": 4}, 2, {"okapi": 1, "ibis": 1, "newt": 1}),
        ({"Okapi": 10, "okapi": 10, "ibis": 10}, 8, {"okapi": 4, "ibis": 4}),
    ],
)
def test_every_class_has_equally_many_but_no_more_than_its_images_and_at_least_one(
    choice: ExemplarChoice, images: dict[str, int], count: int, kept: dict[str, int]
) -> None:
    found = chosen(entries(**images), count, choice)
    assert Counter(entry.class_name.lower() for entry in found) == kept
    assert len(set(found)) == len(found)


def test_a_random_choice_is_its_seeds_and_no_class_depends_on_another() -> None:
    def of(seed: int, **counts: int) -> set[ManifestEntry]:
        found = chosen(entries(**counts), 5 * len(counts), ExemplarChoice.RANDOM, seed)
        return {e for e in found if e.class_name == "okapi"}

    assert of(0, okapi=20) != of(1, okapi=20)
    assert of(0, okapi=20) == of(0, okapi=20, ibis=20)
