"""Modules that the worker's processes load at their start: no torch before it is needed."""

import json
import subprocess
import sys

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
def test_processes_begin_without_what_they_do_not_need() -> None:
    for module in ("worker.supervision.__main__", "worker.__main__"):
        assert loaded_by(module) == ["celery"]
    for module in ("worker.inference.__main__", "worker.ranks.follower"):
        assert "celery" not in loaded_by(module)
