"""Running of the workflow in docs/examples as continuous integration would."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.support.places import ROOT

WORKFLOW = ROOT / "docs/examples/update.yml"


Step = subprocess.CompletedProcess[str]


def run_workflow(folder: Path, **environment: str) -> list[Step]:
    """Run the `run` steps in a folder; after one has failed, only those that always run.

    The client is installed already, so its name is enough for pip.
    """
    environment["PERENNIAL_CLIENT"] = "perennial-client"
    (job,) = yaml.safe_load(WORKFLOW.read_text("utf-8"))["jobs"].values()
    own = {name: value for name, value in job["env"].items() if "${{" not in value}
    assert own.keys() | environment.keys() == job["env"].keys()
    done: list[Step] = []
    for step in job["steps"]:
        failed = any(one.returncode for one in done)
        if "run" in step and (not failed or step.get("if") == "always()"):
            done.append(_run(step, folder, own | environment))
    return done


def _run(step: Any, folder: Path, environment: Mapping[str, str]) -> Step:
    beside = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-e", "-c", step["run"]],
        cwd=folder,
        env={**os.environ, "PATH": beside, "NO_PROXY": "127.0.0.1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
