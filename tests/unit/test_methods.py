"""Which terms each method has, over which columns, and what moves."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from core.domain.recipe import LabelSpace, Method, ModelPart, Precision, Recipe, require_learnable
from core.errors import TooFewClasses
from core.learning import losses
from core.learning.columns import Columns
from core.learning.determinism import repeatable
from core.learning.methods import METHODS, Features, total
from core.learning.pair import Pair
from tests.unit.tiny_clip import tiny_clip

CLASSES, LEARNED, OPEN = ("okapi", "red panda"), ("ibis", "newt"), ("Okapi", "car", "ibis", "dog")


def columns(recipe: Recipe, learned: tuple[str, ...] = LEARNED) -> Columns:
    return Columns.of(recipe, CLASSES, learned, OPEN)


def names(recipe: Recipe, learned: tuple[str, ...] = LEARNED) -> list[str]:
    return [term.name for term in METHODS[recipe.method](recipe, columns(recipe, learned))]


def features(seed: int, classes: int = 6) -> Features:
    generator = torch.Generator().manual_seed(seed)

    def rows(count: int) -> Tensor:
        drawn = torch.randn(count, 8, generator=generator, dtype=torch.float64)
        return torch.nn.functional.normalize(drawn, dim=1)

    return Features(
        images=rows(5), classes=rows(classes), sentences=rows(7), scale=torch.tensor(5.0 + seed)
    )


@pytest.mark.parametrize(
    ("method", "learned", "expected"),
    [
        (Method.FT, (), ["ce"]),
        (Method.FT, LEARNED, ["ce"]),
        (Method.LWF, (), ["ce", "lwf"]),
        (Method.LWF, LEARNED, ["ce", "lwf"]),
        (Method.VRLWF, (), ["ce", "vr"]),
        (Method.VRLWF, LEARNED, ["ce", "vr", "lwf"]),
    ],
)
def test_terms_of_each_method(
    method: Method, learned: tuple[str, ...], expected: list[str]
) -> None:
    assert names(Recipe(method=method), learned) == expected


@pytest.mark.parametrize(
    ("space", "competing"),
    [
        (LabelSpace.SESSION, ("okapi", "red panda")),
        (LabelSpace.SEEN, ("okapi", "red panda", "ibis", "newt")),
        (LabelSpace.OPEN, ("okapi", "red panda", "ibis", "newt", "car", "dog")),
    ],
)
def test_columns_of_the_cross_entropy(space: LabelSpace, competing: tuple[str, ...]) -> None:
    found = columns(Recipe(method=Method.FT, label_space=space))
    assert found.names[: found.competing] == competing
    assert found.of_class("red panda") == 1


def test_a_class_that_a_suite_has_too_is_one_column() -> None:
    found = columns(Recipe(label_space=LabelSpace.OPEN))
    assert [name.lower() for name in found.names].count("okapi") == 1


def test_class_distillation_compares_learned_and_current_classes_only() -> None:
    found = columns(Recipe(label_space=LabelSpace.OPEN))
    assert [found.names[column] for column in found.seen] == ["ibis", "newt", "okapi", "red panda"]


def test_no_prompt_is_encoded_for_nothing() -> None:
    assert columns(Recipe(method=Method.FT)).names == CLASSES
    assert columns(Recipe(method=Method.VRLWF), learned=()).names == CLASSES
    assert set(columns(Recipe(method=Method.LWF)).names) == {*CLASSES, *LEARNED}


def test_a_class_taught_again_is_both_learned_and_current() -> None:
    found = Columns.of(Recipe(label_space=LabelSpace.SEEN), CLASSES, ("red panda",), ())
    assert found.names == ("okapi", "red panda")
    assert sorted(found.seen) == [0, 1]


def test_columns_outside_the_label_space_get_no_gradient_from_the_cross_entropy() -> None:
    recipe = Recipe(method=Method.LWF, label_space=LabelSpace.SESSION)
    ce, _ = METHODS[Method.LWF](recipe, columns(recipe))
    student = features(0, classes=4)
    student.classes.requires_grad_()
    ce.loss(student, features(1, classes=4), torch.tensor([0, 1, 0, 1, 0])).backward()
    assert student.classes.grad is not None
    assert student.classes.grad[2:].abs().sum() == 0
    assert student.classes.grad[:2].abs().min() > 0


def test_the_whole_loss_is_the_weighted_sum_by_hand() -> None:
    recipe = Recipe(replay_weight=3.0, lwf_weight=0.25, label_space=LabelSpace.SEEN)
    found = columns(recipe)
    student, teacher = features(0, classes=4), features(1, classes=4)
    target = torch.tensor([0, 1, 1, 0, 1])
    method = METHODS[recipe.method](recipe, found)
    terms = {term.name: term.loss(student, teacher, target) for term in method}
    z, z_teacher = student.class_logits, teacher.class_logits
    v = student.scale * student.images @ student.sentences.T
    v_teacher = teacher.scale * teacher.images @ teacher.sentences.T
    expected = (
        losses.cross_entropy(z, target)
        + 3.0 * losses.distillation(v, v_teacher)
        + 0.25 * losses.distillation(z, z_teacher)
    )
    torch.testing.assert_close(total(terms, method), expected)


def pair(recipe: Recipe) -> Pair:
    return Pair.of(tiny_clip(), recipe, ("an okapi", "a red panda"))


def pixels(count: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(256, (count, 3, 16, 16), generator=generator, dtype=torch.uint8)


def sentence_tokens() -> Tensor:
    return tiny_clip().tokenise(["zebra crossing umbrella", "of of of of of"])


@pytest.mark.parametrize("part", ModelPart)
@pytest.mark.parametrize("precision", Precision)
def test_student_and_teacher_start_equal_so_forgetting_costs_nothing(
    part: ModelPart, precision: Precision
) -> None:
    both = pair(Recipe(part=part, precision=precision))
    tokens = sentence_tokens()
    replayed = both.read_sentences(tokens)
    with repeatable(0, device=torch.device("cpu"), threads=1):
        student = both.student_features(pixels(), tokens, replayed)
        teacher = both.teacher_features(pixels(), student, replayed)
    loss = losses.vr_lwf(student.sentence_logits, teacher.sentence_logits)
    loss += losses.distillation(student.class_logits, teacher.class_logits)
    loss.backward()
    gradients = [p.grad.abs().max() for p in both.parameters.values() if p.grad is not None]
    assert torch.equal(student.images, teacher.images)
    assert loss.item() < 1e-6  # two terms of fp32, whose rounding is 1.2e-7 each
    assert max(gradients) < 1e-4


def test_nothing_of_the_teacher_takes_a_gradient() -> None:
    both = pair(Recipe())
    tokens = sentence_tokens()
    replayed = both.read_sentences(tokens)
    student = both.student_features(pixels(), tokens, replayed)
    teacher = both.teacher_features(pixels(), student, replayed)
    assert student.sentence_logits.requires_grad
    assert not teacher.sentence_logits.requires_grad
    assert not any(p.requires_grad for p in both.teacher.network.parameters())


@pytest.mark.parametrize(
    ("part", "visual", "textual"),
    [
        (ModelPart.WHOLE, True, True),
        (ModelPart.IMAGE, True, False),
        (ModelPart.TEXT, False, True),
    ],
)
def test_a_part_trains_its_tower_and_the_scale_and_shares_the_rest(
    part: ModelPart, visual: bool, textual: bool
) -> None:
    both = pair(Recipe(part=part))
    trained = set(both.parameters)
    assert "logit_scale" in trained
    assert ("visual.conv1.weight" in trained) is visual
    assert ("token_embedding.weight" in trained) is textual
    teacher = dict(both.teacher.network.named_parameters())
    for name, parameter in both.student.network.named_parameters():
        assert parameter.requires_grad is (name in trained)
        assert (teacher[name] is parameter) is (name not in trained)


@pytest.mark.parametrize("part", [ModelPart.IMAGE, ModelPart.TEXT])
def test_skipping_the_frozen_tower_changes_no_number(part: ModelPart) -> None:
    recipe = Recipe(part=part, precision=Precision.FP32)
    frugal, whole = pair(recipe), pair(Recipe(precision=Precision.FP32))
    tokens = sentence_tokens()
    student = frugal.student_features(pixels(), tokens, frugal.read_sentences(tokens))
    full = whole.student_features(pixels(), tokens, whole.read_sentences(tokens))
    torch.testing.assert_close(student.class_logits, full.class_logits)
    torch.testing.assert_close(student.sentence_logits, full.sentence_logits)


def test_one_class_alone_cannot_be_learned() -> None:
    with pytest.raises(TooFewClasses):
        require_learnable(Recipe(label_space=LabelSpace.SESSION), ("okapi",), LEARNED, OPEN)
    with pytest.raises(TooFewClasses):
        require_learnable(Recipe(label_space=LabelSpace.SEEN), ("okapi",), ("Okapi",), OPEN)
    require_learnable(Recipe(label_space=LabelSpace.SEEN), ("okapi",), LEARNED, ())
    require_learnable(Recipe(label_space=LabelSpace.OPEN), ("okapi",), (), OPEN)
    require_learnable(Recipe(label_space=LabelSpace.SESSION), CLASSES, (), ())
