"""The formulas against numbers worked by hand."""

from math import exp, log

import pytest
import torch
from torch import Tensor

from core.learning import student as losses
from tests.support.learning.rounding import unit

STUDENT = torch.tensor([[0.0, 0.0], [0.0, log(3.0)]], dtype=torch.float64)

TEACHER = torch.tensor([[log(3.0), 0.0], [0.0, log(3.0)]], dtype=torch.float64)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_logits_are_scaled_inner_products() -> None:
    images, texts = torch.tensor([[1.0, 0.0], [0.6, 0.8]]), torch.tensor([[0.0, 1.0]])
    expected = torch.tensor([[0.0], [8.0]])
    torch.testing.assert_close(losses.logits(images, texts, torch.tensor(10.0)), expected)


def test_cross_entropy_is_the_mean_of_minus_log_probability() -> None:
    expected = (log(2) - log(3 / 4)) / 2
    assert losses.cross_entropy(STUDENT, torch.tensor([0, 1])).item() == pytest.approx(expected)


def test_distillation_equals_the_sum_by_hand() -> None:
    # First image: q = (3/4, 1/4), p = (1/2, 1/2). Second: q = p. Mean over the two.
    expected = (0.75 * log(0.75 / 0.5) + 0.25 * log(0.25 / 0.5)) / 2
    # Each of four terms is an exponential, two logarithms and a product, none above 1.
    within = 4 * 4 * unit(torch.float64)
    assert losses.distillation(STUDENT, TEACHER).item() == pytest.approx(expected, abs=within)


def test_the_teachers_probabilities_weigh_the_logarithms() -> None:
    forward = losses.distillation(STUDENT, TEACHER).item()
    backward = (0.5 * log(0.5 / 0.75) + 0.5 * log(0.5 / 0.25)) / 2
    assert abs(forward - backward) > 0.005
    # A student that rules out what the teacher believes in pays without bound.
    denying = torch.tensor([[-30.0, 0.0]], dtype=torch.float64)
    certain = torch.tensor([[0.0, 0.0]], dtype=torch.float64)
    assert losses.distillation(denying, certain).item() > 10
    assert losses.distillation(certain, denying).item() < 1


def test_temperature_divides_both_and_nothing_multiplies() -> None:
    cooled = losses.distillation(STUDENT, TEACHER, temperature=2.0)
    q = 3**0.5 / (1 + 3**0.5)
    expected = (q * log(q / 0.5) + (1 - q) * log((1 - q) / 0.5)) / 2
    assert cooled.item() == pytest.approx(expected)


def test_equal_student_and_teacher_have_zero_loss_and_gradient() -> None:
    student = random(5, 9).requires_grad_()
    loss = losses.vr_lwf(student, student.detach().clone())
    loss.backward()
    assert loss.item() == 0
    assert student.grad is not None
    assert student.grad.abs().max() <= 9 * unit(torch.float64)  # sums of nine probabilities


def test_gradient_is_p_minus_q_over_the_images() -> None:
    student, teacher = random(5, 9).requires_grad_(), random(5, 9, seed=1)
    losses.vr_lwf(student, teacher).backward()
    expected = (student.detach().softmax(1) - teacher.softmax(1)) / 5
    assert student.grad is not None
    torch.testing.assert_close(student.grad, expected)


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


def test_dropping_columns_equals_filling_them_as_the_paper_does() -> None:
    student, teacher = random(5, 6), random(5, 6, seed=1)
    filled = [logits.clone() for logits in (student, teacher)]
    for logits in filled:
        logits[:, 4:] = -1e4
    dropped = losses.lwf(student, teacher, torch.arange(4))
    torch.testing.assert_close(losses.distillation(*filled), dropped)


def test_extreme_logits_stay_finite() -> None:
    student = torch.tensor([[1e4, -1e4, 0.0]]).requires_grad_()
    loss = losses.distillation(student, torch.tensor([[-1e4, 1e4, 0.0]]))
    loss.backward()
    assert loss.item() == pytest.approx(2e4)
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert exp(-loss.item()) == 0


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_soft_cross_entropy_pulls_as_distillation_does_times_temperature_squared(
    temperature: float,
) -> None:
    found = []
    for loss in (losses.soft_cross_entropy, losses.distillation):
        student = random(5, 9).requires_grad_()
        loss(student, random(5, 9, seed=1), temperature).backward()
        assert student.grad is not None
        found.append(student.grad)
    torch.testing.assert_close(found[0], temperature**2 * found[1])


def test_soft_cross_entropy_of_equals_is_the_teachers_entropy() -> None:
    logits = torch.tensor([[log(3.0), 0.0]], dtype=torch.float64)
    expected = -(0.75 * log(0.75) + 0.25 * log(0.25))
    assert losses.soft_cross_entropy(logits, logits, 1.0).item() == pytest.approx(expected)


def test_crossing_sums_what_each_new_tower_makes_with_the_old_other_one() -> None:
    one, other, teacher = random(4, 7), random(4, 7, seed=1), random(4, 7, seed=2)
    expected = losses.distillation(one, teacher, 1.5) + losses.distillation(other, teacher, 1.5)
    torch.testing.assert_close(losses.cross(one, other, teacher, 1.5), expected)
    assert losses.cross(teacher, teacher, teacher, 1.5).item() == 0
