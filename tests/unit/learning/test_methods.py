"""The formulas against numbers worked by hand, and the terms, columns and steps of each method."""

from __future__ import annotations

from math import exp, log
from statistics import fmean

import pytest
import torch
from torch import Tensor, nn

from core.learning import losses
from core.learning.methods import LearningMethod, SpectralProjection, Term, leading, total
from core.learning.student import Batch, Features
from core.learning.vocabulary import NO_CLASS, Columns
from core.recipes.fields import LabelSpace, Method
from core.recipes.rules import Recipe
from tests.support.learning.rounding import unit

STUDENT = torch.tensor([[0.0, 0.0], [0.0, log(3.0)]], dtype=torch.float64)

TEACHER = torch.tensor([[log(3.0), 0.0], [0.0, log(3.0)]], dtype=torch.float64)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_distillation_equals_the_sum_by_hand(temperature: float) -> None:
    """The temperature divides both logits, and nothing multiplies."""
    # First image: q = (3, 1) to the power of 1 / T, normalised, p = (1/2, 1/2). Second: q = p.
    q = 3 ** (1 / temperature) / (1 + 3 ** (1 / temperature))
    expected = (q * log(q / 0.5) + (1 - q) * log((1 - q) / 0.5)) / 2
    # Each of four terms is an exponential, two logarithms and a product, none above 1.
    within = 4 * 4 * unit(torch.float64)
    found = losses.distillation(STUDENT, TEACHER, temperature)
    assert found.item() == pytest.approx(expected, abs=within)


def test_lwf_looks_at_the_seen_columns_alone() -> None:
    student, teacher = random(5, 6).requires_grad_(), random(5, 6, seed=1)
    seen = torch.tensor([4, 0, 1])
    loss = losses.lwf(student, teacher, seen)
    loss.backward()
    expected = losses.distillation(student[:, [4, 0, 1]], teacher[:, [4, 0, 1]])
    assert loss.item() == pytest.approx(expected.item())
    assert student.grad is not None
    assert student.grad[:, [2, 3, 5]].abs().sum() == 0
    assert student.grad[:, seen].abs().min() > 0


def test_extreme_logits_stay_finite() -> None:
    student = torch.tensor([[1e4, -1e4, 0.0]]).requires_grad_()
    loss = losses.distillation(student, torch.tensor([[-1e4, 1e4, 0.0]]))
    loss.backward()
    assert loss.item() == pytest.approx(2e4)
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert exp(-loss.item()) == 0


@pytest.mark.parametrize("bias", [0.0, -10.0])
def test_the_sentences_of_siglip_are_ranked_by_a_softmax_that_no_bias_changes(bias: float) -> None:
    """L_vr = 3/4 ln(3/4 : 1/2) + 1/4 ln(1/4 : 1/2), of cosines ln 3 / 10 and 0 at a scale of 10."""
    cosine = log(3) / 10

    def of(*sentences: tuple[float, float]) -> Tensor:
        one = Features(
            images=torch.tensor([[1.0, 0.0]], dtype=torch.float64),
            classes=torch.zeros(0, 2, dtype=torch.float64),
            captions=torch.zeros(0, 2, dtype=torch.float64),
            sentences=torch.tensor(sentences, dtype=torch.float64),
            scale=torch.tensor(10.0, dtype=torch.float64),
        )
        return one.sentence_logits + bias  # as SigLIP has them

    teacher = of((cosine, (1 - cosine**2) ** 0.5), (0.0, 1.0))
    student = of((0.0, 1.0), (0.0, 1.0))
    expected = 0.75 * log(1.5) + 0.25 * log(0.5)
    assert losses.vr_lwf(student, teacher).item() == pytest.approx(expected, abs=1e-12)

    # A sigmoid of each pair with SigLIP's own bias would hardly see the difference.
    q, p = (1 / (1 + exp(-(float(row[0, 0])))) for row in (teacher, student))
    of_sigmoids = q * log(q / p) + (1 - q) * log((1 - q) / (1 - p))
    assert (of_sigmoids > 0.1) if bias == 0 else (of_sigmoids < 1e-4)


CLASSES, LEARNED, OPEN = ("okapi", "red panda"), ("ibis", "newt"), ("Okapi", "car", "ibis", "dog")


def columns(recipe: Recipe, learned: tuple[str, ...] = LEARNED) -> Columns:
    return Columns.of(recipe, CLASSES, learned, OPEN)


def method(recipe: Recipe, learned: tuple[str, ...] = LEARNED) -> LearningMethod:
    return LearningMethod(recipe, columns(recipe, learned))


def names(terms: tuple[Term, ...]) -> list[str]:
    return [term.name for term in terms]


def features(seed: int, classes: int = 6) -> Features:
    generator = torch.Generator().manual_seed(seed)

    def rows(count: int) -> Tensor:
        drawn = torch.randn(count, 8, generator=generator, dtype=torch.float64)
        return torch.nn.functional.normalize(drawn, dim=1)

    return Features(
        images=rows(5),
        classes=rows(classes),
        captions=rows(0),
        sentences=rows(7),
        scale=torch.tensor(5.0 + seed, dtype=torch.float64),
    )


def batch(student: Features, *teachers: Features) -> Batch:
    return Batch(
        student=student,
        teachers=teachers,
        target=torch.tensor([0, 1, 1, 0, 1]),
        fits=torch.empty(0, 0, dtype=torch.bool),
    )


def loss_by_name(terms: tuple[Term, ...], seen: Batch) -> dict[str, Tensor]:
    return {term.name: term.loss(seen) for term in terms}


@pytest.mark.parametrize(
    ("name", "learned", "expected"),
    [
        (Method.FT, LEARNED, ["ce"]),
        (Method.LWF, LEARNED, ["ce", "lwf"]),
        (Method.VRLWF, (), ["ce", "vr"]),
        (Method.VRLWF, LEARNED, ["ce", "vr", "lwf"]),
        (Method.VRLWF_CROSS, LEARNED, ["ce", "vr", "lwf", "cross"]),
        (Method.VRLWF_REPLAY, LEARNED, ["ce", "vr"]),
        (Method.VRLWF_FEATURES, LEARNED, ["ce", "vr"]),
        (Method.REPLAY, LEARNED, ["ce"]),
        (Method.ZSCL, LEARNED, ["ce"]),
    ],
)
def test_terms_of_each_method(name: Method, learned: tuple[str, ...], expected: list[str]) -> None:
    assert names(method(Recipe(method=name), learned).terms()) == expected


def test_the_classes_that_compete_are_the_first_columns() -> None:
    found = columns(Recipe(label_space=LabelSpace.OPEN))
    assert found.names == ("okapi", "red panda", "ibis", "newt", "car", "dog")
    assert (found.competing, found.targets(["Red panda", None]).tolist()) == (6, [1, NO_CLASS])
    assert columns(Recipe(method=Method.LWF, label_space=LabelSpace.SESSION)).competing == 2


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
    ce, _ = method(Recipe(method=Method.LWF, label_space=LabelSpace.SESSION)).terms()
    student = features(0, classes=4)
    student.classes.requires_grad_()
    ce.loss(batch(student)).backward()
    assert student.classes.grad is not None
    assert student.classes.grad[2:].abs().sum() == 0
    assert student.classes.grad[:2].abs().min() > 0


def test_the_whole_loss_is_the_weighted_sum_by_hand() -> None:
    recipe = Recipe(
        method=Method.VRLWF_CROSS,
        replay_weight=3.0,
        lwf_weight=0.25,
        cross_weight=0.5,
        temperature=2.0,
        label_space=LabelSpace.SEEN,
    )
    student, teacher = features(0, classes=4), features(1, classes=4)
    seen = batch(student, teacher)
    terms = method(recipe).terms()
    s, t = student, teacher
    v_teacher = t.scale * t.images @ t.sentences.T
    expected = (
        losses.cross_entropy(s.scale * s.images @ s.classes.T, seen.target)
        + 3.0 * losses.distillation(s.scale * s.images @ s.sentences.T, v_teacher, 2.0)
        + 0.25
        * losses.distillation(
            s.scale * s.images @ s.classes.T, t.scale * t.images @ t.classes.T, 2.0
        )
        + 0.5 * losses.distillation(t.scale * s.images @ t.sentences.T, v_teacher, 2.0)
        + 0.5 * losses.distillation(t.scale * t.images @ s.sentences.T, v_teacher, 2.0)
    )
    torch.testing.assert_close(total(terms, [term.loss(seen) for term in terms]), expected)


@pytest.mark.parametrize("name", [Method.LWF, Method.VRLWF_CROSS, Method.ZSCL])
def test_two_teachers_count_half_each(name: Method) -> None:
    made = method(Recipe(method=name))
    terms = (*made.terms(), *made.reference_terms())
    student, one, other = (features(seed, classes=4) for seed in range(3))
    both = loss_by_name(terms, batch(student, one, other))
    with_one, with_other = (loss_by_name(terms, batch(student, t)) for t in (one, other))
    for term in terms:
        expected = (with_one[term.name] + with_other[term.name]) / 2
        torch.testing.assert_close(both[term.name], expected)
    assert any(abs(with_one[term.name] - with_other[term.name]) > 1e-3 for term in terms)


def test_zscl_ranks_the_old_texts_by_the_new_images_and_the_reverse() -> None:
    """The sums by hand: the student's scale on both, its images alone take gradient."""
    tau = 2.0
    terms = method(Recipe(method=Method.ZSCL, temperature=tau)).reference_terms()
    student, teacher = features(0), features(1)
    for tensor in (student.images, student.classes, student.scale):
        tensor.requires_grad_()
    found = loss_by_name(terms, batch(student, teacher))
    new = (student.scale * student.images @ teacher.classes.T / tau).tolist()
    old = (student.scale * teacher.images @ teacher.classes.T / tau).tolist()
    assert found["zscl_i"].item() == pytest.approx(tau**2 * cross_entropy_of(old, new))
    columns_first = [list(map(list, zip(*table, strict=True))) for table in (old, new)]
    assert found["zscl_t"].item() == pytest.approx(tau**2 * cross_entropy_of(*columns_first))
    torch.stack(list(found.values())).sum().backward()
    assert student.images.grad is not None
    assert student.images.grad.abs().min() > 0
    assert student.classes.grad is None
    assert student.scale.grad is None


def cross_entropy_of(wanted: list[list[float]], given: list[list[float]]) -> float:
    """Mean over rows of −Σ softmax(wanted) ln softmax(given), without torch."""
    rows = []
    for want, give in zip(wanted, given, strict=True):
        q, p = softmax(want), softmax(give)
        rows.append(-sum(a * log(b) for a, b in zip(q, p, strict=True)))
    return fmean(rows)


def softmax(row: list[float]) -> list[float]:
    powers = [exp(value) for value in row]
    return [power / sum(powers) for power in powers]


def matrix(*values: float) -> Tensor:
    """A 6 by 5 matrix with these singular values."""
    left, _ = torch.linalg.qr(random(6, 6))
    right, _ = torch.linalg.qr(random(5, 5, seed=1))
    return (
        left[:, : len(values)]
        @ torch.diag(torch.tensor(values).double())
        @ right[:, : len(values)].T
    )


@pytest.mark.parametrize(("share", "count"), [(0.5, 1), (0.63, 1), (0.65, 2), (0.99, 2), (1.0, 3)])
def test_the_fewest_directions_hold_the_share_of_the_energy(share: float, count: int) -> None:
    left, right = leading(matrix(8, 6, 0.1), share)  # energies 64, 36 and 0.01
    assert (left.shape, right.shape) == ((6, count), (5, count))


def test_a_step_touches_neither_side_of_the_leading_directions_and_is_the_same_elsewhere() -> None:
    parameter = nn.Parameter(matrix(8, 6, 0.1))
    left, right = leading(parameter.detach(), 0.65)
    before, step = parameter.detach().clone(), random(6, 5, seed=2)
    projection = SpectralProjection(0.65, {"weight": parameter})
    projection.begin()
    with torch.no_grad():
        parameter += step
    projection.end()
    moved = parameter.detach() - before
    torch.testing.assert_close(left.T @ moved, torch.zeros(2, 5, dtype=torch.float64))
    torch.testing.assert_close(moved @ right, torch.zeros(6, 2, dtype=torch.float64))
    free = torch.eye(6) - left @ left.T, torch.eye(5) - right @ right.T
    torch.testing.assert_close(moved, free[0] @ step @ free[1])


def test_a_kernel_is_a_matrix_of_its_first_dimension() -> None:
    kernel = nn.Parameter(random(3, 2, 2, 2))
    left, _ = leading(kernel.detach().flatten(1), 0.5)
    projection, start = SpectralProjection(0.5, {"kernel": kernel}), kernel.detach().clone()
    projection.begin()
    with torch.no_grad():
        kernel += 1
    projection.end()
    moved = (kernel.detach() - start).flatten(1)
    assert moved.abs().max() > 0.01
    torch.testing.assert_close(left.T @ moved, torch.zeros_like(left.T @ moved))


@pytest.mark.parametrize(
    ("share", "start"),
    [
        (0.0, random(3, 3)),
        (0.5, torch.zeros(3, 2)),
        (0.5, random(4)),
        (0.1, random(1, 5, 4)),  # a single row
        (0.1, random(6, 1)),
    ],
)
def test_what_has_no_leading_directions_trains_freely(share: float, start: Tensor) -> None:
    parameter = nn.Parameter(start.clone())
    projection = SpectralProjection(share, {"weight": parameter})
    projection.begin()
    with torch.no_grad():
        parameter += 1
    projection.end()
    assert torch.equal(parameter.detach(), start + 1)
