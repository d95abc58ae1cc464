"""Modules that a worker loads at its start, and those that only their users load."""

from __future__ import annotations

import json
import subprocess
import sys

import torch
from torch import nn

from core.learning.optimisation import make_optimiser
from core.recipes.fields import Optimiser
from core.recipes.rules import Recipe
from tests.support.places import ROOT

LOOK = """
import json, sys
from core.loading import loading
with loading():
    import worker.tools, worker.inference.server
    from tests.support.learning.lessons import red_and_blue
    from tests.support.learning.lessons import train
    from core.clip.model import empty_network
    from tests.support.learning.towers import config_of
    from tests.support.memory_artifacts import MemoryArtifacts
told = {}
def look(name):
    told[name] = sorted({"sympy", "timm", "torch._dynamo", "transformers"} & set(sys.modules))
look("at the start")
artifacts = MemoryArtifacts()
train(artifacts, red_and_blue(artifacts))
look("after an update")
empty_network(config_of("timm with dropout"))
look("after a tower of timm")
from torchvision.ops.roi_align import is_compile_supported
told["compiler"] = is_compile_supported("cpu")
look("in the end")
print(json.dumps(told))
"""


def test_compiler_and_timm_are_loaded_by_who_needs_them_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOK], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "at the start": [],
        "after an update": [],
        "after a tower of timm": ["timm"],
        "compiler": True,
        "in the end": ["sympy", "timm", "torch._dynamo"],
    }


def test_a_step_without_the_compiler_is_torchs_own_to_the_bit() -> None:
    recipe = Recipe(optimiser=Optimiser.ADAMW, weight_decay=0.1)
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 12).reshape(3, 4)) for _ in range(2))
    settings = {"lr": recipe.learning_rate, "eps": recipe.epsilon, "weight_decay": 0.1}
    rules = [
        make_optimiser(recipe, {"weight": ours}),
        torch.optim.AdamW([theirs], fused=True, **settings),
    ]
    for number in range(4):
        for rule, weight in zip(rules, (ours, theirs), strict=True):
            (weight.sin() * number).sum().backward()
            rule.step()
            rule.zero_grad()
            rule.load_state_dict(rule.state_dict())
    assert torch.equal(ours, theirs)
    assert not ours.allclose(torch.linspace(-1, 1, 12).reshape(3, 4))
