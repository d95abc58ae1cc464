"""The account of a step's memory, and what it says of a ViT-L/14 on 24 GiB."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from benchmarks.memory import CONFIGS, GIB, Living, account
from core.recipes.rules import Recipe
from tests.support.learning.tiny_clip import tiny_config


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


def tiny_account(**recipe: Any) -> Any:
    model_cfg = tiny_config()["model_cfg"]
    model_cfg["vision_cfg"] |= {"layers": 4, "image_size": 64}
    given = {"method": "vrlwf", "batch_size": 32, "sentences": 2} | recipe
    return account(model_cfg, Recipe.from_json(given), classes=2)


def test_a_part_shares_what_it_freezes_with_its_teacher() -> None:
    whole, text = tiny_account(), tiny_account(part="text")
    assert text.teacher < whole.teacher
    assert text.gradients < whole.gradients
    assert tiny_account(method="ft").teacher == 0


def test_parts_of_a_batch_and_recomputing_take_less_memory() -> None:
    whole = tiny_account().activations
    assert tiny_account(micro_batch=8).activations < 0.5 * whole
    assert tiny_account(gradient_checkpointing=True).activations < 0.8 * whole
    assert tiny_account(batch_size=64).activations > 1.5 * whole


def test_only_what_lives_is_counted() -> None:
    kept = torch.zeros(10)
    with Living() as living:
        living.know(kept)
        kept.add_(1)
        made = torch.ones(100)
        seen = made[:50]  # a view has no storage of its own
        assert living.now == 400
        del made
        assert living.now == 400
        del seen
        assert living.now == 0
    assert living.most == 400
