"""Modules that the worker's processes load at their start: no torch before it is needed."""

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "open_clip", "torchvision", "timm", "safetensors", "celery")
LOADED = (
    "import json, sys; print(json.dumps([name for name in sys.argv[1:] if name in sys.modules]))"
)


def loaded_by(module: str) -> list[str]:
    """The heavy modules that a process has loaded once it has loaded this one."""
    command = [sys.executable, "-c", f"import {module}; {LOADED}", *HEAVY]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded: list[str] = json.loads(done.stdout)
    return loaded


# Whatever happens to torch or a device, the supervisor starts a child anew. A child hides its
# environment, and ties its end to its parent's, before torch takes seconds to load.
@pytest.mark.parametrize("module", ["worker.supervision.__main__", "worker.__main__"])
def test_supervisor_and_child_begin_without_torch(module: str) -> None:
    assert loaded_by(module) == ["celery"]


@pytest.mark.parametrize("module", ["worker.inference.__main__", "worker.ranks.follower"])
def test_inference_and_ranks_load_no_celery(module: str) -> None:
    assert "celery" not in loaded_by(module)
