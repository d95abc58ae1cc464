"""Captions teach: their loss, the captions of a batch, and updates that repeat to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import log
from typing import Any

import pytest
import torch

from core.learning.captions import Captions
from core.learning.distributed import repeatable
from core.learning.losses import contrastive, sigmoid
from core.learning.step import StepData
from core.recipes.fields import DEFAULT_PROMPT, Method, ModelPart, Precision, TeacherPolicy
from core.recipes.rules import Recipe
from core.training.trainer import TrainingSpec
from tests.support.learning.lessons import (
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
    return replace(step_data(len(TEXTS)), target=FITS, captions=tokens)


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
@pytest.mark.parametrize("part", ModelPart)
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
        ).step(captioned())
        for size in (0, micro_batch)
    )
    assert {"con", "vr", "lwf", "cross"} <= numbers.keys()
    assert in_parts == pytest.approx(numbers, rel=1e-6)
    assert whole.keys() == parts.keys()
    largest = max(gradient.abs().max().item() for gradient in whole.values())
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=0, atol=1e-9 * largest, msg=name)


def test_a_batch_is_no_sum_of_its_parts() -> None:
    """Without cached features, the test above would have to fail."""
    made = stand(Recipe(method=Method.FT, precision=Precision.FP32), captions=True)
    numbers, _ = made.step(captioned())
    first = replace(captioned(), target=FITS[:3, :3], captions=captioned().captions[:3])
    part, _ = made.step(replace(first, indices=torch.arange(3), pixels=first.pixels[:3]))
    assert part["con"] < numbers["con"] - 0.1


# Updates.


@pytest.fixture
def lesson(artifacts: MemoryArtifacts) -> TrainingSpec:
    """Ten images of noise, the first with three captions, on a line that has learned a class."""
    images = [noise_image(artifacts, 0, "a boat", "a grey boat", "a boat at sea")]
    images += [noise_image(artifacts, seed, f"picture {seed % 8}") for seed in range(1, 10)]
    okapis = tuple(noise_image(artifacts, seed, "okapi") for seed in range(20, 24))
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
            exemplars=3,
            precision=Precision.FP32,
        ),
        classes=(),
        learned=("okapi",),
        open_classes=(),
        images=tuple(images),
        prompt=DEFAULT_PROMPT,
        exemplars=okapis,
        captions=True,
    )


def drawn(captions: Captions, image: int, epoch: int) -> list[int]:
    tokens, _ = captions.batch([(image, epoch)])
    found: list[int] = tokens[0].tolist()
    return found


def test_an_image_with_several_captions_has_one_in_each_epoch_and_in_time_all(
    lesson: TrainingSpec,
) -> None:
    model = tiny_clip()
    captions = Captions.of(lesson, model, (), ())
    told = {tuple(drawn(captions, 0, epoch)) for epoch in range(20)}
    assert told == {tuple(row) for row in model.tokenise(lesson.images[0].texts).tolist()}
    assert drawn(captions, 0, 3) == drawn(captions, 0, 3)


def test_equal_texts_near_duplicates_and_examples_of_a_class_are_no_negatives(
    lesson: TrainingSpec,
) -> None:
    first, *others = lesson.images
    copy = replace(others[0], texts=("a copy",), near_duplicate_of=first.pixels)
    spec = replace(lesson, images=(first, copy, *others))
    captions = Captions.of(spec, tiny_clip(), lesson.exemplars[:2], ("Okapi",))
    _, fits = captions.batch([(place, 0) for place in range(len(captions.own))])
    pairs = {(a, b) for a, b in fits.nonzero().tolist() if a < b}
    # the first and its copy; "picture 1" of seeds 1 and 9; two exemplars and a drawn feature
    assert pairs == {(0, 1), (2, 10), (11, 12), (11, 13), (12, 13)}


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


def test_what_earlier_classes_have_left_is_replayed_and_kept(
    artifacts: MemoryArtifacts, lesson: TrainingSpec
) -> None:
    assert trained(artifacts, lesson).notes["exemplars"] == 3
    features = with_recipe(lesson, method=Method.VRLWF_FEATURES)
    classed = replace(
        features,
        captions=False,
        classes=("okapi", "ibis"),
        learned=(),
        images=tuple(
            replace(e, texts=("okapi", "ibis")[n % 2 :]) for n, e in enumerate(lesson.images)
        ),
    )
    classed = replace(classed, recipe=replace(classed.recipe, feature_replay=8))
    known = trained(artifacts, classed).feature_statistics
    found = trained(
        artifacts, replace(features, feature_statistics=known, learned=("okapi", "ibis"))
    )
    assert found.notes["features"]
    assert found.feature_statistics == known


def test_captions_learned_before_are_not_given_back_to_the_root(
    artifacts: MemoryArtifacts, lesson: TrainingSpec
) -> None:
    """Nothing replays them, so training begins at the parent whatever the warm start."""
    root = stored(tiny_clip(seed=1), artifacts).digest
    spec = replace(with_recipe(lesson, warm_start=0.25), root=root)
    at = {
        before: prepared(artifacts, replace(spec, captions_before=before)).update.models.parameters
        for before in (False, True)
    }
    parent = dict(tiny_clip().network.named_parameters())
    assert all(torch.equal(value, parent[name]) for name, value in at[True].items())
    assert not all(torch.equal(value, parent[name]) for name, value in at[False].items())
