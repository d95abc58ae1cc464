"""Hooks are filled in every process of the service, and say so where they are not."""

import subprocess
import sys

import pytest

from core.hooks import Hook, HookNotFilled

# Each program that runs verbs of the rooms, by the modules that it loads before it does anything.
ENTRY_POINTS = {
    "the API": "import api.app",
    "the worker's supervisor": "import worker.supervision.__main__",
    "the worker": "import worker.__main__",
    "inference": "import worker.inference.__main__",
    "perennial gc, key and migrate": "from cli.operations import operator; operator()(lambda: 0)()",
    "perennial backup and restore": "import core.backup.backup",
}
ALL_FILLED = """
from core.hooks import Hook
assert len(Hook.every) >= 7
assert [hook.name for hook in Hook.every if not hook.filled] == []
"""


def test_each_part_is_called_in_order_with_what_the_hook_is_given() -> None:
    hook = Hook[[int], int]("a sum")
    hook.fill(lambda x: x + 1, lambda x: x * 2)
    assert hook(10) == [11, 20]


def test_a_hook_that_nobody_has_filled_raises() -> None:
    with pytest.raises(HookNotFilled, match="'the end of the world'"):
        Hook[[], None]("the end of the world")()


@pytest.mark.parametrize("program", ENTRY_POINTS)
def test_every_hook_is_filled_in(program: str) -> None:
    code = ENTRY_POINTS[program] + ALL_FILLED
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
