"""The base of a study: its weights, the rows of its default recipe, and the machine's facts."""

import resource
import subprocess
from collections.abc import Sequence
from pathlib import Path

import open_clip
import torch

from benchmarks.study.plan import PlanInvalid, Row
from core.artifacts.store import Artifacts
from core.clip.bases import BaseImporter
from core.clip.machine import native_precisions
from core.clip.model import empty_network, publish
from core.jobs.rules import Monitor
from core.recipes.fields import DEFAULT_PROMPT
from core.registry.architecture import brings_tokenizer, require_trainable
from core.registry.default_recipe import default_recipe
from core.registry.versions import Weights

RANDOM = ":random"  # after the name of an architecture: a dry run without weights


def load_base(base: str, store: Artifacts, monitor: Monitor) -> tuple[Weights, str]:
    """Store a base and return its weights and default prompt.

    A base is what a model is created from, or `NAME:random`. Raises PlanInvalid, BaseUnknown,
    ModelNotTrainable or WeightsFormat.
    """
    if base.endswith(RANDOM):
        return _random(base.removesuffix(RANDOM), store, monitor), DEFAULT_PROMPT.text
    folder = Path(base.removeprefix("local-dir:"))
    named = str(folder.resolve()) if folder.is_dir() else base
    return BaseImporter(store, folders=(Path("/"),)).load(named, monitor)


def _random(name: str, store: Artifacts, monitor: Monitor) -> Weights:
    """Store an architecture of open_clip with random weights, always the same ones."""
    model_cfg = open_clip.get_model_config(name)
    if model_cfg is None:
        raise PlanInvalid(f"open_clip has no architecture {name!r}")
    require_trainable(model_cfg)
    if brings_tokenizer(model_cfg):
        raise PlanInvalid(f"{name} has a tokenizer of its own: name a folder with its files")
    config = {"model_cfg": model_cfg, "preprocess_cfg": {}}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = empty_network(config).state_dict()
    return publish(
        config, state, store, lambda done, total: monitor.advance("publishing", done, total)
    )


def default_rows(weights: Weights, device: torch.device) -> tuple[Row, ...]:
    """Return the default recipe of a base, and plain fine-tuning at the same rate.

    Precision is what `auto` is on the device.
    """
    chosen = default_recipe(weights.config["model_cfg"], weights.tower_parameters)
    precision = chosen.complete({}).precision.on(native_precisions(device))
    tuned = chosen.merged({"method": "ft"})
    return (
        Row(name="default", recipe={**chosen.fields, "precision": precision}),
        Row(name="ft", recipe={**tuned, "precision": precision}),
    )


def begin_peak(device: torch.device) -> None:
    """Forget the memory that a CUDA device had in use at most."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int:
    """Return the most bytes that tensors took on a CUDA device; on a CPU, the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def code_and_driver(device: torch.device) -> dict[str, str]:
    """Return the commit of the code, and the driver of a CUDA device."""
    here = str(Path(__file__).parent)
    facts = {"commit": _said("git", "-C", here, "describe", "--always", "--dirty", "--exclude=*")}
    if device.type == "cuda":
        asked = ("--query-gpu=driver_version", "--format=csv,noheader")
        facts["driver"] = _said("nvidia-smi", *asked).partition("\n")[0]
    return facts


def _said(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def title_of(base: str) -> str:
    """Return the name of a base in a table: of files, without their place."""
    if base.endswith(RANDOM):
        return f"{base.removesuffix(RANDOM)}, random weights (dry run)"
    return Path(base).name if "/" in base else base


def folder_name(base: str) -> str:
    """Return the name of a base as that of a folder."""
    last = base.rstrip("/").rpartition("/")[2]
    return "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in last)


def joined(values: Sequence[str]) -> str:
    """Return different values in their order, as one text."""
    return ", ".join(dict.fromkeys(values))
