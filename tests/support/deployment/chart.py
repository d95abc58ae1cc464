"""The Helm chart, rendered by Helm."""

import json
import subprocess
from collections.abc import Mapping
from typing import Any

import yaml

from devtools.programs import find_helm
from tests.support.places import ROOT

CHART = ROOT / "deploy" / "helm" / "perennial"

Resource = dict[str, Any]


class Refused(Exception):
    """Helm refused the values; the message is its own."""


def run_helm(*arguments: str, values: Mapping[str, Any] | None = None) -> str:
    """Run Helm with values as it would read them from a file; return its output. Raises Refused."""
    done = subprocess.run(
        [find_helm(), *arguments, "--values", "-"],
        input=json.dumps(values or {}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Refused(done.stdout + done.stderr)
    return done.stdout


def render(**values: Any) -> dict[tuple[str, str], Resource]:
    """The resources of a release `p` by kind and name. Raises Refused."""
    printed = run_helm("template", "p", str(CHART), values=values)
    found = [one for one in yaml.safe_load_all(printed) if one]
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


def pod_of(resource: Resource) -> Resource:
    """The pods that a workload makes: their labels and their spec."""
    spec = resource["spec"]
    return spec.get("jobTemplate", {}).get("spec", spec)["template"]
