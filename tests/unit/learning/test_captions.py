"""Captions teach: their loss, the captions of a batch, and updates that repeat to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import log
from typing import Any

import pytest
import torch

from core.learning.captions import Captions, Learned
from core.learning.distributed import repeatable
from core.learning.losses import contrastive, sigmoid
from core.learning.step import StepData
from core.learning.vocabulary import NO_CLASS
from core.recipes.fields import DEFAULT_PROMPT, Method, ModelPart, Precision, TeacherPolicy
from core.recipes.rules import Recipe
from core.training.trainer import TrainingSpec
from tests.support.learning.lessons import (
    PARTS,
    Watching,
    altered,
    noise_image,
    prepared,
    stopped,
    train,
    trained,
    with_recipe,
)
from tests.support.learning.steps import in_double, noisy, stand, step_data
from tests.support.learning.tiny_clip import CONFIG, stored, tiny_clip
from tests.support.memory_artifacts import MemoryArtifacts

TEXTS = ("a boat", "two cats", "rain on a roof", "a boat", "a red door", "an owl", "snow")
# The tiny model with a logit bias, as SigLIP has one.
BIASED = {**CONFIG, "model_cfg": {**CONFIG["model_cfg"], "init_logit_bias": -2.0}}
FITS = torch.tensor([[one == other for other in TEXTS] for one in TEXTS])  # as a batch has them


@pytest.fixture(autouse=True)
def still() -> Iterator[None]:
    with repeatable(0, device=torch.device("cpu"), threads=1):
        yield


def captioned() -> StepData:
    tokens = tiny_clip().tokenise(TEXTS)
    target = torch.full((len(TEXTS),), NO_CLASS)
    return replace(step_data(len(TEXTS)), target=target, captions=tokens, fits=FITS)


def mixed() -> StepData:
    """Images of either class among captioned ones."""
    target = captioned().target.index_put((torch.tensor([0, 2, 5]),), torch.tensor([0, 1, 0]))
    return replace(captioned(), target=target)


# The loss.


def test_with_one_caption_each_it_is_the_loss_of_clip_by_hand() -> None:
    """Rows: −ln 1/3 and −ln 1/4. Columns: −ln 1/4 and −ln 1/3."""
    logits = torch.tensor([[0.0, log(2)], [log(3), 0.0]], dtype=torch.float64)
    loss = contrastive(logits, torch.eye(2, dtype=torch.bool))
    assert loss.item() == pytest.approx((log(3) + log(4)) / 2)


def test_captions_that_fit_the_same_image_share_its_target_by_hand() -> None:
    """Rows: (ln 3 + ln 3/2) / 2, ln 4. Columns: ln 4 and, of both images, (ln 3/2 + ln 3) / 2."""
    logits = torch.tensor([[0.0, log(2)], [log(3), 0.0]], dtype=torch.float64)
    fits = torch.tensor([[True, True], [False, True]])
    rows = ((log(3) + log(3 / 2)) / 2 + log(4)) / 2
    columns = (log(4) + (log(3 / 2) + log(3)) / 2) / 2
    assert contrastive(logits, fits).item() == pytest.approx((rows + columns) / 2)


def test_its_gradient_is_that_of_a_naive_sum() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(7, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    contrastive(logits, FITS).backward()  # type: ignore[no-untyped-call]

    def share(i: int, j: int, of: list[tuple[int, int]]) -> float:
        """p − q of one cell of a row or column."""
        total = sum(logits[cell].exp().item() for cell in of)
        fitting = sum(FITS[cell].item() for cell in of)
        return logits[i, j].exp().item() / total - FITS[i, j].item() / fitting

    wanted = [
        [
            share(i, j, [(i, one) for one in range(7)])
            + share(i, j, [(one, j) for one in range(7)])
            for j in range(7)
        ]
        for i in range(7)
    ]
    torch.testing.assert_close(logits.grad, torch.tensor(wanted, dtype=torch.float64) / 14)


def test_the_loss_of_siglip_asks_about_each_pair_by_hand() -> None:
    """First image: −ln σ(ln 3) −ln σ(−0) = ln 4/3 + ln 2. Second: −ln σ(ln 3) −ln σ(ln 3)."""
    logits = torch.tensor([[log(3), 0.0], [-log(3), log(3)]], dtype=torch.float64)
    loss = sigmoid(logits, torch.eye(2, dtype=torch.bool))
    assert loss.item() == pytest.approx((3 * log(4 / 3) + log(2)) / 2)


def test_each_caption_that_fits_an_image_is_right_for_it_by_hand() -> None:
    """The pairs that fit do not share one target: both of the first image want all of σ."""
    logits = torch.tensor([[log(3), 0.0], [-log(3), log(3)]], dtype=torch.float64)
    fits = torch.tensor([[True, True], [True, True]])
    loss = sigmoid(logits, fits)
    assert loss.item() == pytest.approx((2 * log(4 / 3) + log(2) + log(4)) / 2)


def test_the_gradient_of_siglips_loss_is_that_of_each_pair() -> None:
    """It is (σ(K) − Y) / images, also where σ is 0 or 1 in rounding."""
    logits = 9 * torch.randn(7, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    logits[0, 0] = -1e4
    logits.requires_grad_()
    loss = sigmoid(logits, FITS)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() > 1e3
    with torch.no_grad():
        wanted = (1 / (1 + (-logits).exp()) - FITS.double()) / 7
    torch.testing.assert_close(logits.grad, wanted)


def test_a_model_with_a_logit_bias_is_taught_by_the_loss_of_siglip() -> None:
    recipe = Recipe(method=Method.FT, precision=Precision.FP32)
    for config, loss in ((CONFIG, contrastive), (BIASED, sigmoid)):
        made = stand(recipe, parent=in_double(tiny_clip(config=config)), captions=True)
        data = captioned()
        student = made.models.student
        with torch.no_grad():
            images, texts = student.encode_images(data.pixels), student.encode_texts(TEXTS)
            found = loss(
                student.scale * images @ texts.T - (2.0 if config is BIASED else 0.0), FITS
            )
        numbers, gradients = made.step(data)
        assert numbers["con"] == pytest.approx(found.item(), rel=1e-5)
        assert "logit_bias" not in gradients


# A batch in parts.


@pytest.mark.parametrize("config", [CONFIG, BIASED], ids=["softmax", "sigmoid"])
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("micro_batch", [1, 3, 64])
def test_a_batch_in_parts_has_the_loss_and_gradients_of_the_whole(
    part: ModelPart, micro_batch: int, config: dict[str, Any]
) -> None:
    recipe = Recipe(
        method=Method.VRLWF_CROSS,
        part=part,
        teacher=TeacherPolicy.BOTH,
        sentences=6,
        sentence_length=6,
        precision=Precision.FP32,
    )
    (numbers, whole), (in_parts, parts) = (
        stand(
            replace(recipe, micro_batch=size),
            parent=in_double(noisy(tiny_clip(config=config))),
            root=in_double(tiny_clip(config=config)),
            captions=True,
        ).step(mixed())
        for size in (0, micro_batch)
    )
    assert {"ce", "con", "vr", "lwf", "cross"} <= numbers.keys()
    assert in_parts == pytest.approx(numbers, rel=1e-6)
    assert whole.keys() == parts.keys()
    largest = max(gradient.abs().max().item() for gradient in whole.values())
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=0, atol=1e-9 * largest, msg=name)


def test_a_batch_is_no_sum_of_its_parts() -> None:
    """Without cached features, the test above would have to fail."""
    made = stand(Recipe(method=Method.FT, precision=Precision.FP32), captions=True)
    numbers, _ = made.step(captioned())
    part, _ = made.step(some(captioned(), [0, 1, 2]))
    assert part["con"] < numbers["con"] - 0.1


def some(data: StepData, rows: list[int]) -> StepData:
    """Some images of a batch, without the captions of the others."""
    return replace(
        data,
        indices=data.indices[rows],
        pixels=data.pixels[rows],
        target=data.target[rows],
        captions=data.captions[rows] if len(data.captions) else data.captions,
        fits=data.fits[rows][:, rows] if len(data.fits) else data.fits,
    )


def test_classes_and_captions_weigh_as_many_images_as_they_have() -> None:
    recipe = Recipe(method=Method.FT, precision=Precision.FP32)
    found, _ = stand(recipe, captions=True).step(mixed())
    alone, _ = stand(recipe, captions=True).step(captioned())
    named = replace(step_data(len(TEXTS)), target=mixed().target)
    classes, _ = stand(recipe).step(some(named, [0, 2, 5]))
    assert found["ce"] == pytest.approx(classes["ce"] * 3 / 7, rel=1e-5)
    assert found["con"] == pytest.approx(alone["con"] * 4 / 7, rel=1e-5)
    assert found["loss"] == pytest.approx(found["ce"] + found["con"], rel=1e-5)
    assert (alone["ce"], alone["loss"]) == (0, pytest.approx(alone["con"], rel=1e-5))


# Updates.


@pytest.fixture
def lesson(artifacts: MemoryArtifacts) -> TrainingSpec:
    """Ten images of noise, the first with three captions, on a line that has learned a class.

    An update before it has taught captions, too.
    """
    images = [noise_image(artifacts, 0, "a boat", "a grey boat", "a boat at sea")]
    images += [noise_image(artifacts, seed, f"picture {seed % 8}") for seed in range(1, 10)]
    okapis = tuple(noise_image(artifacts, seed, "okapi") for seed in range(20, 24))
    before = tuple(noise_image(artifacts, seed, f"sketch {seed}") for seed in range(40, 44))
    parent = stored(tiny_clip(), artifacts).digest
    return TrainingSpec(
        parent=parent,
        root=parent,
        recipe=Recipe(
            epochs=2,
            batch_size=4,
            learning_rate=3e-3,
            sentences=6,
            sentence_length=6,
            exemplars=4,
            precision=Precision.FP32,
        ),
        classes=(),
        learned=("okapi",),
        open_classes=(),
        images=(),
        prompt=DEFAULT_PROMPT,
        captioned=tuple(images),
        exemplars=okapis,
        captioned_exemplars=before,
        captions_before=True,
    )


def drawn(captions: Captions, image: int, epoch: int) -> list[int]:
    tokens, _ = captions.batch([(image, epoch)])
    found: list[int] = tokens[0].tolist()
    return found


def test_an_image_with_several_captions_has_one_in_each_epoch_and_in_time_all(
    lesson: TrainingSpec,
) -> None:
    model = tiny_clip()
    captions = Captions.of(lesson, model, Learned(images=(), captioned=lesson.captioned), ())
    told = {tuple(drawn(captions, 0, epoch)) for epoch in range(20)}
    assert told == {tuple(row) for row in model.tokenise(lesson.captioned[0].texts).tolist()}
    assert drawn(captions, 0, 3) == drawn(captions, 0, 3)


def test_equal_texts_near_duplicates_and_examples_of_a_class_are_no_negatives(
    lesson: TrainingSpec,
) -> None:
    first, *others = lesson.captioned
    copy = replace(others[0], texts=("a copy",), near_duplicate_of=first.pixels)
    told = replace(lesson.captioned_exemplars[0], texts=("picture 2",))
    images = Learned(
        images=(),
        captioned=(first, copy, *others),
        exemplars=lesson.exemplars[:2],
        captioned_exemplars=(told,),
    )
    captions = Captions.of(lesson, tiny_clip(), images, ("Okapi",))
    _, fits = captions.batch([(place, 0) for place in range(len(captions.own))])
    pairs = {(a, b) for a, b in fits.nonzero().tolist() if a < b}
    # the first and its copy; "picture 1" of seeds 1 and 9, and "picture 2" of an earlier update;
    # two exemplars and a drawn feature
    assert pairs == {(0, 1), (2, 10), (3, 13), (11, 12), (11, 14), (12, 14)}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"method": Method.VRLWF, "micro_batch": 3},
        {"method": Method.FT, "part": ModelPart.TEXT, "augment": False},
        {"method": Method.VRLWF_CROSS, "part": ModelPart.IMAGE},
    ],
    ids=str,
)
def test_an_update_learns_repeats_and_resumes_to_the_same_bits(
    changes: dict[str, Any], artifacts: MemoryArtifacts, lesson: TrainingSpec
) -> None:
    spec = replace(lesson, recipe=altered(lesson.recipe, **changes))
    watch = Watching()
    undisturbed = train(artifacts, spec, watch)
    assert undisturbed.digest != spec.parent
    assert watch.terms[-1]["con"] < watch.terms[0]["con"]
    kept = stopped(artifacts, spec, at=2)
    assert train(artifacts, spec, resume=kept).digest == undisturbed.digest


def test_images_of_earlier_classes_and_captions_are_replayed_as_many_as_there_are(
    artifacts: MemoryArtifacts, lesson: TrainingSpec
) -> None:
    assert trained(artifacts, lesson).notes["exemplars"] == 4
    more = replace(lesson, captioned_exemplars=lesson.captioned)  # ten beside four of a class
    kept = prepared(artifacts, with_recipe(more, exemplars=7)).reading.pixels[len(more.captioned) :]
    of = {entry.pixels: entry.class_name for entry in more.exemplars}
    assert [of.get(pixels) for pixels in kept] == ["okapi"] * 2 + [None] * 5
    assert len(set(kept)) == 7


def test_an_update_of_classes_learns_earlier_captions_again(
    artifacts: MemoryArtifacts, lesson: TrainingSpec
) -> None:
    """Their loss falls in training, and would rise if it were not trained."""
    taught = replace(
        with_recipe(lesson, epochs=8, exemplars=8),
        classes=("okapi", "ibis"),
        images=tuple(
            noise_image(artifacts, seed, ("okapi", "ibis")[seed % 2]) for seed in range(60, 68)
        ),
        captioned=(),
        learned=(),
        captioned_exemplars=(*lesson.captioned_exemplars, *lesson.captioned),
    )
    watch = Watching()
    train(artifacts, taught, watch)
    first, last = watch.terms[0], watch.terms[-1]
    assert last["con"] < first["con"]
    assert last["ce"] < first["ce"]
    without = with_recipe(taught, exemplars=0)
    alone = Watching()
    train(artifacts, without, alone)
    assert "con" not in alone.terms[-1]


def test_features_of_earlier_classes_are_replayed_beside_captions_and_their_statistics_kept(
    artifacts: MemoryArtifacts, lesson: TrainingSpec
) -> None:
    features = with_recipe(lesson, method=Method.VRLWF_FEATURES)
    classed = replace(
        features,
        classes=("okapi", "ibis"),
        learned=(),
        images=tuple(
            replace(e, texts=("okapi", "ibis")[n % 2 :]) for n, e in enumerate(lesson.captioned)
        ),
        captioned=(),
    )
    classed = replace(classed, recipe=replace(classed.recipe, feature_replay=8))
    known = trained(artifacts, classed).feature_statistics
    found = trained(
        artifacts, replace(features, feature_statistics=known, learned=("okapi", "ibis"))
    )
    assert found.notes["features"]
    assert found.feature_statistics == known


def test_captions_learned_before_are_given_back_to_the_root_only_if_they_are_replayed(
    artifacts: MemoryArtifacts, lesson: TrainingSpec
) -> None:
    """Otherwise training begins at the parent whatever the warm start."""
    root = stored(tiny_clip(seed=1), artifacts).digest
    spec = replace(with_recipe(lesson, warm_start=0.25), root=root)
    parent = dict(tiny_clip().network.named_parameters())

    def begins_at_parent(**changes: Any) -> bool:
        at = prepared(artifacts, replace(spec, **changes)).update.models.parameters
        return all(torch.equal(value, parent[name]) for name, value in at.items())

    assert not begins_at_parent()
    assert begins_at_parent(captioned_exemplars=())
    assert not begins_at_parent(captioned_exemplars=(), captions_before=False)
