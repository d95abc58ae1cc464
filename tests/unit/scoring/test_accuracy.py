"""Probabilities of predicted classes."""

from math import nan

import pytest
import torch

from core.scoring.evaluator import IMAGES_AT_ONCE, predict, probabilities


def test_a_probability_is_that_of_the_softmax_over_all_classes() -> None:
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0], [nan, 0.0]]).repeat(IMAGES_AT_ONCE, 1)
    classes = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    predicted = predict(images, classes)
    found = probabilities(images, classes, predicted, 10.0)
    assert predicted[:3] == (0, 1, 2)
    assert found[:3] == pytest.approx(
        (1 / (1 + 2.718281828**-4), 1 / (1 + 2.718281828**-8), 0.0), abs=1e-4
    )
    assert found == found[:3] * IMAGES_AT_ONCE
