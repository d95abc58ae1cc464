"""The numbers of a study: shares of forgetting spared, differences, memory."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.memory import CONFIGS, GIB, account
from benchmarks.study.measures import Measured, difference, negative_flips, share_kept
from core.gate.intervals import Flips, paired_interval
from core.recipes.rules import Recipe


def hits(right: int, count: int) -> np.ndarray:
    """The first `right` of `count` images are right."""
    return np.arange(count) < right


def test_the_share_is_one_minus_the_ratio_of_the_losses() -> None:
    # before 80 of 100; fine-tuning 60 and 64 (loses 18 points), the method 77 and 78 (loses 2.5)
    measured = Measured(
        before=hits(80, 100),
        tuned=np.stack([hits(60, 100), hits(64, 100)]),
        method=np.stack([hits(77, 100), hits(78, 100)]),
    )
    found = share_kept([measured])
    assert found.tuned_loss == pytest.approx(0.18)
    assert found.method_loss == pytest.approx(0.025)
    assert found.value == pytest.approx(1 - 0.025 / 0.18)


def test_the_interval_has_the_width_of_a_binomial_share() -> None:
    # Fine-tuning loses 200 images, the method 50 of those and no others: given the 200, the
    # share is 1 minus a proportion of 0.25, whose 95 % half-width is 1.96 sqrt(.25 .75 / 200).
    measured = Measured(
        before=hits(800, 1000), tuned=hits(600, 1000)[None], method=hits(750, 1000)[None]
    )
    found = share_kept([measured])
    assert found.interval is not None
    assert found.value == pytest.approx(0.75)
    assert found.interval.upper - found.interval.lower == pytest.approx(2 * 0.0600, rel=0.1)


def test_the_difference_in_ut_acc_is_paired_over_images() -> None:
    method = np.array([[1, 1, 0, 0, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0, 0, 0]], dtype=bool)
    tuned = np.array([[1, 0, 0, 1, 0, 0, 0, 0], [1, 0, 0, 1, 1, 0, 0, 0]], dtype=bool)
    # gained 2 and 2, lost 1 and 2, of 8 images
    found = difference(method, tuned)
    assert found.value == pytest.approx((2 - 1.5) / 8)
    assert found.interval == paired_interval(Flips(count=8, gained=2, lost=1.5), 0.025)


def test_negative_flips_are_counted_per_update_and_over_the_line() -> None:
    base, first, last = np.array(
        [
            [1, 1, 1, 0, 0, 0, 1, 0, 0, 0],
            [1, 0, 1, 1, 1, 0, 0, 0, 0, 0],  # two of ten lost
            [1, 1, 0, 0, 1, 0, 0, 0, 0, 0],  # two more; one that was lost is right again
        ],
        dtype=bool,
    )
    found = negative_flips([base, first, last])
    assert found.update == pytest.approx(0.2)
    assert found.line == pytest.approx(0.3)  # the third, the fourth and the seventh
    assert negative_flips([base, last]).update == pytest.approx(0.2)
    with pytest.raises(ValueError, match="two versions"):
        negative_flips([base])


def test_student_and_teacher_of_a_vit_l_14_fit_in_24_gib() -> None:
    model_cfg = json.loads((CONFIGS / "ViT-L-14.json").read_bytes())
    found = account(model_cfg, Recipe.from_json({"preset": "vit_l_14_24gb"}), classes=100)
    weights = 4 * 427_616_513
    assert found.gradients == weights
    assert found.moments == 2 * weights
    assert found.student == pytest.approx(weights, rel=1e-3)  # and the attention mask
    assert found.teacher == pytest.approx(weights, rel=1e-3)
    assert found.activations < 1.5 * GIB
    assert found.total < 12 * GIB  # half: the rest is for the allocator, the context, classes
