"""Hooks are filled in every process of the service, which begins without torch, or say so."""

import subprocess
import sys

import pytest

from core.hooks import Hook, HookNotFilled

TORCH = ("torch", "open_clip", "torchvision", "timm", "safetensors")
# Each program that runs verbs of the rooms, or trains along: what it loads before it does anything,
# and what it must not load by then. A child hides its environment and ties its end to its parent's
# before torch takes seconds to load.
ENTRY_POINTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "the API": (
        "from api.app import create_app; from core.settings import Settings; "
        "create_app(Settings()).openapi()",
        ("jwt", "opentelemetry.exporter", *TORCH),  # the first two: what no setting asks for
    ),
    "the worker's supervisor": ("import worker.supervision.__main__", TORCH),
    "the worker": ("import worker.__main__", TORCH),
    "a further rank": ("import worker.ranks.follower, core.bootstrap", ("celery", *TORCH)),
    "inference": ("import worker.inference.__main__", ("celery",)),
    "perennial gc, key and migrate": (
        "from cli.operations import operator; operator()(lambda: 0)()",
        TORCH,
    ),
    "perennial backup and restore": ("import core.backup.backup", TORCH),
}
ALL_FILLED = """
import sys
from core.hooks import Hook
assert len(Hook.every) >= 7
assert [hook.name for hook in Hook.every if not hook.filled] == []
assert not set(sys.argv) & sys.modules.keys()
"""


def test_each_part_is_called_in_order_with_what_the_hook_is_given() -> None:
    hook = Hook[[int], int]("a sum")
    hook.fill(lambda x: x + 1, lambda x: x * 2)
    assert hook(10) == [11, 20]


def test_a_hook_that_nobody_has_filled_raises() -> None:
    with pytest.raises(HookNotFilled, match="'the end of the world'"):
        Hook[[], None]("the end of the world")()


@pytest.mark.parametrize("program", ENTRY_POINTS)
def test_every_hook_is_filled_and_nothing_heavy_loaded_in(program: str) -> None:
    code, unwanted = ENTRY_POINTS[program]
    command = [sys.executable, "-c", f"{code}\n{ALL_FILLED}", *unwanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
